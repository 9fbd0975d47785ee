// Keeps cards, the client and the cache together.

import { CardCache } from "./persona-card-cache.js";
import { canonicalEmail } from "./persona-card-text.js";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** The cards of a person: cached ones first, then the server's answer, again and again until there is one. */
export class CardDeck {
  #client;
  #container;
  #cache;
  #toldEmails;
  #isTold = false;
  #cards = [];
  #sessionEnds = 0;
  /** Ends the listeners of an opening. */
  #opening = null;
  /** Ends the calls and pauses of a refresh. */
  #refreshing = null;

  /** @param {{client: object, container: Element, cache?: CardCache | null, emails?: string[]}} options */
  constructor({ client, container, cache = new CardCache(), emails }) {
    this.#client = client;
    this.#container = container;
    this.#cache = cache;
    this.#toldEmails = emails;
  }

  /** In the order of the emails. */
  get cards() {
    return [...this.#cards];
  }

  /**
   * Shows cards at once, with what the cache holds. It asks nobody: see `refresh`.
   *
   * @param {string[]} [emails]
   */
  open(emails = this.#toldEmails) {
    this.#isTold = emails !== undefined;
    this.#arrange(emails ?? this.#client.session?.emails ?? this.#cache?.emails ?? []);
    this.#listen();
  }

  /**
   * Shows what the server has. Resolves when it has answered, or when asking again makes no sense (the session
   * is over, the deck was closed, a newer call took over); never rejects.
   *
   * @param {object[]} [profiles] an answer that is there already
   */
  async refresh(profiles) {
    this.#refreshing?.abort();
    if (!this.#opening) {
      this.open();
    }
    const { signal } = (this.#refreshing = new AbortController());
    if (profiles) {
      await this.#take(profiles);
      return;
    }
    for (let failures = 0; !signal.aborted; failures += 1) {
      try {
        const found = await this.#ask(signal);
        if (!signal.aborted) {
          await this.#take(found);
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

  /**
   * Takes cards and listeners away, and what was kept if `forget` says so.
   *
   * @param {{forget?: boolean}} [options]
   */
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

  async #ask(signal) {
    const answer = this.#call(signal);
    for (const card of this.#cards) {
      card.await(answer.then((profiles) => profileOf(card, profiles)));
    }
    return answer;
  }

  async #call(signal) {
    const profiles = await this.#client.profiles({ signal });
    if (!Array.isArray(profiles)) {
      throw new TypeError("Not a list of profiles.");
    }
    return profiles;
  }

  /** Makes the cards those of an answer. */
  async #take(answer) {
    const profiles = answer.filter((profile) => typeof profile?.email === "string");
    const known = new Set(this.#cards.map((card) => canonicalEmail(card.email)));
    const added = profiles
      .map(({ email }) => email)
      .filter((email) => !known.has(canonicalEmail(email)));
    // Emails that the page named keep their cards; those of a session that has changed go.
    const kept = this.#cards.map(({ email }) => email);
    const emails = this.#isTold ? [...kept, ...added] : profiles.map(({ email }) => email);
    this.#cache?.put(profiles);
    this.#arrange(emails);
    await Promise.all(
      this.#cards.map((card) => card.await(Promise.resolve(profileOf(card, profiles)))),
    );
  }

  /** Leaves every card that stays where it is: moving one would take the focus from it. */
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

  #makeCard(email) {
    const card = document.createElement("persona-card");
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
    this.#client.addEventListener?.("session", () => this.#noteSession(), { signal });
    addEventListener("storage", (event) => this.#noteStorage(event), { signal });
  }

  /**
   * A session that is over before its time was ended by somebody, and then nothing may stay on the device. One
   * that ran out is what every opening after a while meets: its cards are what the cache is for.
   */
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

  /** Another tab signed out: what came from the cache goes here too. What this tab's own session gave stays. */
  #noteStorage({ key, newValue }) {
    if (this.#cache && newValue === null && (key === this.#cache.name || key === null)) {
      this.#blank(this.#cards.filter(({ state }) => state !== "ready"));
    }
  }

  #blank(cards) {
    for (const card of cards) {
      card.profile = null;
    }
  }
}

function profileOf(card, profiles) {
  const wanted = canonicalEmail(card.email);
  return profiles.find(
    (profile) => typeof profile?.email === "string" && canonicalEmail(profile.email) === wanted,
  );
}

/**
 * Waits longer after each failure, with jitter, so that a server that comes back isn't met by all at once. Ends
 * at once when the browser is online or visible again, but not before the server wants to be asked; in a page
 * that nobody sees it goes on until somebody does.
 */
function pause(failures, retryAfter, signal) {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  const asked = (Number(retryAfter) || 0) * 1000;
  const opens = Date.now() + asked;
  return new Promise((resolve) => {
    const ended = new AbortController();
    const end = () => {
      clearTimeout(timer);
      ended.abort();
      resolve();
    };
    const wake = () => {
      if (!document.hidden && Date.now() >= opens) {
        end();
      }
    };
    const timer = setTimeout(wake, asked + longest * (0.5 + Math.random() / 2));
    addEventListener("online", wake, { signal: ended.signal });
    document.addEventListener("visibilitychange", wake, { signal: ended.signal });
    signal.addEventListener("abort", end, { signal: ended.signal });
  });
}
