// Connects cards, client and cache. persona-card.d.ts is the reference.

import { CardCache } from "./persona-card-cache.js";
import { canonicalEmail } from "./persona-card-text.js";

/** @import * as declared from "./persona-card.js" */
/** @import { Profile } from "./persona-profile.js" */
/** @typedef {ConstructorParameters<typeof declared.CardDeck>[0]} Options */

const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 30_000;

/** @implements {declared.CardDeck} */
export class CardDeck {
  #client;
  #container;
  #cache;
  #emails;
  #noticeOf;
  /** Whether the page has chosen the emails. */
  #isChosen = false;
  /** @type {declared.PersonaCard[]} */
  #cards = [];
  #sessionEnds = 0;
  /** @type {AbortController | null} Ends the listeners. */
  #opening = null;
  /** @type {AbortController | null} Ends the calls and pauses of a refresh. */
  #refreshing = null;

  /** @param {Options} options */
  constructor({ client, container, cache = new CardCache(), emails, noticeOf = () => "" }) {
    this.#client = client;
    this.#container = container;
    this.#cache = cache;
    this.#emails = emails;
    this.#noticeOf = noticeOf;
  }

  get cards() {
    return [...this.#cards];
  }

  /** @param {string[]} [emails] */
  open(emails = this.#emails) {
    this.#isChosen = emails !== undefined;
    this.#arrange(emails ?? this.#client.session?.emails ?? this.#cache?.emails ?? []);
    this.#listen();
  }

  /** @type {declared.CardDeck["refresh"]} */
  async refresh(profiles) {
    this.#refreshing?.abort();
    if (!this.#opening) {
      this.open();
    }
    const { signal } = (this.#refreshing = new AbortController());
    if (profiles) {
      await this.#show(profiles);
      return;
    }
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        const answer = await this.#request(signal);
        if (!signal.aborted) {
          await this.#show(answer);
        }
        return;
      } catch (error) {
        if (signal.aborted || error?.isTemporary === false) {
          return;
        }
        await pause(failures, error?.retryAfter, signal);
      }
    }
  }

  /** @type {declared.CardDeck["close"]} */
  close({ forget = false } = {}) {
    this.#refreshing?.abort();
    this.#opening?.abort();
    this.#opening = null;
    for (const card of this.#cards) {
      card.remove();
    }
    this.#cards = [];
    if (forget) {
      this.#cache?.forget();
    }
  }

  /**
   * Requests the profiles, for which the cards wait.
   * @param {AbortSignal} signal
   */
  async #request(signal) {
    const answer = this.#profiles(signal);
    for (const card of this.#cards) {
      card.await(answer.then((profiles) => profileOf(card, profiles)));
    }
    return answer;
  }

  /** @param {AbortSignal} signal */
  async #profiles(signal) {
    const profiles = await this.#client.profiles({ signal });
    if (!Array.isArray(profiles)) {
      throw new TypeError("Not a list of profiles.");
    }
    return profiles;
  }

  /** @param {Profile[]} answer of the server */
  async #show(answer) {
    const profiles = answer.filter((profile) => typeof profile?.email === "string");
    const known = new Set(this.#cards.map((card) => canonicalEmail(card.email)));
    const added = profiles
      .map(({ email }) => email)
      .filter((email) => !known.has(canonicalEmail(email)));
    // Emails chosen by the page keep their cards; cards of an earlier session are removed.
    const kept = this.#cards.map(({ email }) => email);
    const emails = this.#isChosen ? [...kept, ...added] : profiles.map(({ email }) => email);
    this.#cache?.put(profiles);
    this.#arrange(emails);
    await Promise.all(
      this.#cards.map((card) => {
        const profile = profileOf(card, profiles);
        card.notice = profile ? this.#noticeOf(profile) : "";
        return card.await(Promise.resolve(profile));
      }),
    );
  }

  /**
   * Adds and removes cards. The other cards are not moved: a card that is moved loses the focus.
   * @param {string[]} emails
   */
  #arrange(emails) {
    const present = new Map(this.#cards.map((card) => [canonicalEmail(card.email), card]));
    const wanted = new Map(emails.map((email) => [canonicalEmail(email), email]));
    for (const [canonical, card] of present) {
      if (!wanted.has(canonical)) {
        card.remove();
      }
    }
    this.#cards = [...wanted].map(
      ([canonical, email]) => present.get(canonical) ?? this.#makeCard(email),
    );
    /** @type {declared.PersonaCard | null} */
    let previous = null;
    for (const card of this.#cards) {
      const isInPlace = previous
        ? previous.nextElementSibling === card
        : card.parentNode === this.#container;
      if (!isInPlace && previous) {
        previous.after(card);
      } else if (!isInPlace) {
        this.#container.append(card);
      }
      previous = card;
    }
  }

  /** @param {string} email */
  #makeCard(email) {
    const card = /** @type {declared.PersonaCard} */ (document.createElement("persona-card"));
    card.email = email;
    card.profile = this.#cache?.get(email) ?? null;
    return card;
  }

  #listen() {
    if (this.#opening) {
      return;
    }
    const { signal } = (this.#opening = new AbortController());
    this.#noteSession();
    this.#client.addEventListener("session", () => this.#noteSession(), { signal });
    addEventListener("storage", (event) => this.#noteStorage(event), { signal });
  }

  /** A sign-out, which ends a session early, clears the device; an expiry leaves the cards for the next visit. */
  #noteSession() {
    const { session } = this.#client;
    if (session) {
      this.#sessionEnds = Date.parse(session.expires_at) || Infinity;
      return;
    }
    if (Date.now() < this.#sessionEnds) {
      this.#refreshing?.abort();
      this.#cache?.forget();
      this.#blank(this.#cards);
    }
    this.#sessionEnds = 0;
  }

  /**
   * Removes cached profiles after a sign-out in another tab; those of this tab's session stay.
   * @param {StorageEvent} event
   */
  #noteStorage({ key, newValue }) {
    if (this.#cache && newValue === null && (key === this.#cache.name || key === null)) {
      this.#blank(this.#cards.filter(({ state }) => state !== "ready"));
    }
  }

  /** @param {declared.PersonaCard[]} cards */
  #blank(cards) {
    for (const card of cards) {
      card.profile = null;
    }
  }
}

/**
 * @param {declared.PersonaCard} card
 * @param {Profile[]} profiles
 */
function profileOf(card, profiles) {
  const wanted = canonicalEmail(card.email);
  return profiles.find(
    (profile) => typeof profile?.email === "string" && canonicalEmail(profile.email) === wanted,
  );
}

/**
 * Returns the milliseconds of the pause after some failures in a row: longer after each, and at random, so that
 * clients do not return together.
 * @param {number} failures
 * @param {number} retryAfterMs requested by the server
 */
export function pauseAfter(failures, retryAfterMs) {
  const longest = Math.min(MIN_PAUSE_MS * 2 ** failures, MAX_PAUSE_MS);
  return retryAfterMs + longest * (0.5 + Math.random() / 2);
}

/**
 * Pauses before a retry. The pause ends early when the browser is online or visible again, but not before
 * `retryAfter`; on a hidden page it lasts until the page is visible.
 * @param {number} failures
 * @param {unknown} retryAfter in seconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(failures, retryAfter, signal) {
  const retryAfterMs = (Number(retryAfter) || 0) * 1000;
  const earliest = Date.now() + retryAfterMs;
  return new Promise((resolve) => {
    const ended = new AbortController();
    const end = () => {
      clearTimeout(timer);
      ended.abort();
      resolve();
    };
    const wake = () => {
      if (!document.hidden && Date.now() >= earliest) {
        end();
      }
    };
    const timer = setTimeout(wake, pauseAfter(failures, retryAfterMs));
    addEventListener("online", wake, { signal: ended.signal });
    document.addEventListener("visibilitychange", wake, { signal: ended.signal });
    signal.addEventListener("abort", end, { signal: ended.signal });
  });
}
