// The cards of the last opening, in `localStorage`.

import { canonicalEmail } from "./persona-card-text.js";
import { thumbnailOf } from "./persona-card-picture.js";

const MAX_EMAILS = 20;
const MAX_CHARACTERS = 1_000_000;
const CLAIMS = [
  "name",
  "given_name",
  "family_name",
  "nickname",
  "pronouns",
  "website",
  "locale",
  "zoneinfo",
  "label",
  "picture_alt",
];

/**
 * What the next opening paints before the network answers: claims and thumbnails.
 *
 * What lies here lies in the clear, for everyone who uses this browser profile. So there is no token in it and
 * no URL of a picture (both are permissions), and of a protected profile nothing but the email: a person who
 * shut even the server out did not mean the device's disk. The email alone keeps the card's place.
 */
export class CardCache {
  #name;

  /** @param {string} [name] of the item in `localStorage` */
  constructor(name = "persona-cards") {
    this.#name = name;
  }

  /** Of the item in `localStorage`, as `storage` events tell it. */
  get name() {
    return this.#name;
  }

  /** The email addresses, in order. */
  get emails() {
    return this.#read().map(({ email }) => email);
  }

  /**
   * What is kept of an email: a profile without `etag`, since nothing may be written on the strength of it.
   *
   * @param {string} email
   * @returns {import("./persona-profile.js").Profile | null}
   */
  get(email) {
    const kept = this.#find(email);
    if (!kept?.claims) {
      return null;
    }
    const { id, thumbnail } = kept;
    return {
      email: kept.email,
      ...kept.claims,
      picture: thumbnail ? { id, urls: {}, thumbnail } : null,
      updated_at: null,
      version: 0,
      protected: false,
      etag: "",
    };
  }

  /**
   * Replaces what is kept; of more than 20 profiles, the first 20 are.
   *
   * @param {import("./persona-profile.js").Profile[]} profiles
   */
  put(profiles) {
    this.#write(
      profiles
        .filter(isProfile)
        .slice(0, MAX_EMAILS)
        .map((profile) => this.#entry(profile)),
    );
  }

  /**
   * Forgets one email, or all.
   *
   * @param {string} [email]
   */
  forget(email) {
    if (email === undefined) {
      this.#remove();
      return;
    }
    const gone = canonicalEmail(email);
    this.#write(this.#read().filter((kept) => canonicalEmail(kept.email) !== gone));
  }

  #find(email) {
    const wanted = canonicalEmail(email);
    return this.#read().find((kept) => canonicalEmail(kept.email) === wanted);
  }

  #entry(profile) {
    const { email } = profile;
    if (profile.error === "profile_unreadable") {
      // It may well be readable tomorrow, and its card is the person's own until then.
      return this.#find(email) ?? { email };
    }
    if (profile.protected || profile.error) {
      return { email };
    }
    const thumbnail = thumbnailOf(profile.picture);
    const picture = thumbnail && { id: String(profile.picture.id), thumbnail };
    return { email, claims: claimsOf(profile), ...picture };
  }

  /** Anybody on this origin may have written there, so everything is looked at again. */
  #read() {
    try {
      const { version, cards } = JSON.parse(localStorage.getItem(this.#name));
      return version === 1 ? cards.filter(isProfile).slice(0, MAX_EMAILS).map(clean) : [];
    } catch {
      return [];
    }
  }

  #write(cards) {
    if (!cards.length) {
      this.#remove();
      return;
    }
    const kept = cards.map((card) => ({ ...card }));
    for (let last = kept.length - 1; last >= 0 && serialized(kept).length > MAX_CHARACTERS; last -= 1) {
      delete kept[last].thumbnail;
    }
    const bare = kept.map(({ thumbnail, ...card }) => card);
    if (!this.#store(kept) && !this.#store(bare)) {
      // Better nothing than what is no longer true.
      this.#remove();
    }
  }

  #store(cards) {
    try {
      localStorage.setItem(this.#name, serialized(cards));
      return true;
    } catch {
      return false;
    }
  }

  #remove() {
    try {
      localStorage.removeItem(this.#name);
    } catch {
      // Storage is switched off: there is nothing to forget.
    }
  }
}

const serialized = (cards) => JSON.stringify({ version: 1, cards });
const isProfile = (value) => typeof value?.email === "string" && value.email !== "";

function claimsOf(source) {
  return Object.fromEntries(
    CLAIMS.map((name) => [name, typeof source[name] === "string" ? source[name] : null]),
  );
}

function clean({ email, claims, id, thumbnail }) {
  const accepted = thumbnailOf({ thumbnail });
  return {
    email,
    ...(typeof claims === "object" && claims && { claims: claimsOf(claims) }),
    ...(accepted && { id: String(id), thumbnail: accepted }),
  };
}
