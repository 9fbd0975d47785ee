// The cards of the last visit, in `localStorage`.

/** @import * as declared from "./persona-card.js" */
/** @import { Claims, Profile } from "./persona-profile.js" */
/** @typedef {{ email: string, claims?: Claims, id?: string, thumbnail?: string }} Entry */

import { canonicalEmail } from "./persona-card-text.js";
import { thumbnailOf } from "./persona-card-picture.js";
import { CLAIMS } from "./persona-claims.js";

const MAX_EMAILS = 20;
const MAX_CHARACTERS = 1_000_000;

/**
 * Claims and thumbnails, which cards show before the network answers.
 *
 * They are stored in the clear, for everybody who uses this browser profile. So no token and no URL of a picture
 * is stored (both are permissions), and of a protected profile only the email, which keeps the place of its card.
 *
 * @implements {declared.CardCache}
 */
export class CardCache {
  #name;

  /** @param {string} [name] */
  constructor(name = "persona-cards") {
    this.#name = name;
  }

  get name() {
    return this.#name;
  }

  get emails() {
    return this.#read().map(({ email }) => email);
  }

  /** @type {declared.CardCache["get"]} */
  get(email) {
    const kept = this.#find(email);
    if (!kept?.claims) {
      return null;
    }
    const { id = "", thumbnail } = kept;
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

  /** @type {declared.CardCache["put"]} */
  put(profiles) {
    this.#write(
      profiles
        .filter(isProfile)
        .slice(0, MAX_EMAILS)
        .map((profile) => this.#entry(profile)),
    );
  }

  /** @type {declared.CardCache["forget"]} */
  forget(email) {
    if (email === undefined) {
      this.#remove();
      return;
    }
    const gone = canonicalEmail(email);
    this.#write(this.#read().filter((kept) => canonicalEmail(kept.email) !== gone));
  }

  /** @param {string} email */
  #find(email) {
    const wanted = canonicalEmail(email);
    return this.#read().find((kept) => canonicalEmail(kept.email) === wanted);
  }

  /**
   * @param {Profile} profile
   * @returns {Entry}
   */
  #entry(profile) {
    const { email } = profile;
    if (profile.error === "profile_unreadable") {
      // It may be readable later; the stored card is the person's own.
      return this.#find(email) ?? { email };
    }
    if (profile.protected || profile.error) {
      return { email };
    }
    const thumbnail = thumbnailOf(profile.picture);
    return {
      email,
      claims: claimsOf(profile),
      ...(thumbnail && { id: String(profile.picture?.id), thumbnail }),
    };
  }

  /**
   * Reads and checks the item, since any page of this origin may have written it.
   * @returns {Entry[]}
   */
  #read() {
    try {
      const { version, cards } = JSON.parse(localStorage.getItem(this.#name) ?? "null");
      return version === 1 ? cards.filter(isProfile).slice(0, MAX_EMAILS).map(clean) : [];
    } catch {
      return [];
    }
  }

  /** @param {Entry[]} cards */
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
      // No room: an outdated item would be worse than none.
      this.#remove();
    }
  }

  /** @param {Entry[]} cards */
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
      // Storage is disabled: nothing is stored.
    }
  }
}

/** @param {Entry[]} cards */
const serialized = (cards) => JSON.stringify({ version: 1, cards });
/** @param {any} value */
const isProfile = (value) => typeof value?.email === "string" && value.email !== "";

/**
 * @param {Record<string, any>} source
 * @returns {Claims}
 */
function claimsOf(source) {
  return /** @type {any} */ (
    Object.fromEntries(
      CLAIMS.map((name) => [name, typeof source[name] === "string" ? source[name] : null]),
    )
  );
}

/** @param {Entry} entry */
function clean({ email, claims, id, thumbnail }) {
  const accepted = thumbnailOf({ thumbnail });
  return {
    email,
    ...(typeof claims === "object" && claims && { claims: claimsOf(claims) }),
    ...(accepted && { id: String(id), thumbnail: accepted }),
  };
}
