import type { Profile, ProfileClient } from "./persona-profile.js";

/** What stands in for a picture: made from the email on the client, the same on every machine. */
export interface Monogram {
  /** One or two letters, or whole emoji; never empty. */
  text: string;
  /** Degrees, 0 to 359. */
  hue: number;
}
export function monogram(email: string, name?: string | null): Monogram;

/** `pending`: waiting, with a cached card or a monogram shown; `fallback`: the server did not answer in time,
 *  or refused; `ready`: what the server has. A card that is `ready` stays so when a later answer fails to come,
 *  and leaves that for `fallback` only if the profile itself does not open any more (its `error`). */
export type CardState = "pending" | "fallback" | "ready";

/**
 * One profile card: `<persona-card email="alice@example.com"></persona-card>`.
 *
 * It paints at once, before any answer: what the last opening left in the cache, or a monogram. An answer
 * that comes late replaces that without a change of size. It is one button: pressing it dispatches `choose`
 * (bubbling, composed; `detail: {email, profile}`); `selected` is the page's to set then. `state` changes
 * dispatch `statechange` (bubbling). An answer about another email, or of another shape, counts as none.
 *
 * It follows the page's `color-scheme` and direction. Its size depends on the font size alone: one `rem` of the
 * page is one of the card.
 *
 * Attributes: `email`; `selected` (shown and announced as pressed, if the attribute `selectable` is there);
 * `disabled`. CSS custom properties: `--persona-card-surface`, `--persona-card-ink`,
 * `--persona-card-muted`, `--persona-card-accent`, `--persona-card-radius`. Parts: `card`, `portrait`, `name`,
 * `email`, `label`, `about`.
 */
export class PersonaCard extends HTMLElement {
  email: string;
  selected: boolean;
  selectable: boolean;
  disabled: boolean;
  /** What is shown; null while only a monogram is. Setting it shows it and changes no `state`; null goes back to
   *  the monogram and `pending`, and drops answers that are under way. */
  profile: Profile | null;
  readonly state: CardState;
  /**
   * Shows the answer when it comes. The card waits 800 ms (attribute `patience`, in milliseconds) before it
   * counts as `fallback`; a later answer is taken all the same. Never rejects.
   */
  await(answer: Promise<Profile | undefined>): Promise<void>;
}

/**
 * The cards of the last opening, kept by the browser so that the next one paints before the network
 * answers: claims and thumbnails, no token, no picture URL; of at most 20 emails and about a megabyte.
 *
 * What is kept lies in the clear on the device. So of a protected profile only the email is kept: `get` returns
 * null for it.
 */
export class CardCache {
  /** Its name in `localStorage`; `persona-cards` unless told. */
  constructor(name?: string);
  /** Of the item in `localStorage`; compare the `key` of `storage` events with it. */
  readonly name: string;
  /** The email addresses, in order; what can't be read counts as nothing. */
  readonly emails: string[];
  /** Without `etag`, `version` and `updated_at` ("", 0, null): nothing is to be written on the strength of it. */
  get(email: string): Profile | null;
  /** Replaces what is kept; an unreadable profile leaves what is kept of its email. Without room, thumbnails are
   *  left away. A browser that keeps nothing is no error. */
  put(profiles: Profile[]): void;
  /** Forgets one email, or all: when a person signs out or erases. */
  forget(email?: string): void;
}

/**
 * Keeps cards, the client and the cache together: cached cards first, then the server's answer, again and
 * again until there is one (backing off, and at once when the browser is online or visible again, but not
 * before `retryAfter`).
 *
 * When the client's session is over before its time (signed out, here or elsewhere), the cache is forgotten and
 * the cards go back to monograms; a session that ran out leaves both, since that is what the next opening meets.
 * When another tab empties the cache, cards that came from it go back to monograms, those that are `ready` stay.
 */
export class CardDeck {
  constructor(options: {
    client: ProfileClient;
    container: Element;
    cache?: CardCache | null;
    emails?: string[];
  });
  /** In the order of the emails. */
  readonly cards: PersonaCard[];
  /** Shows cards for these emails, at once; those of the session, or else the cached ones, unless told. Asks
   *  nobody: call `refresh` next. */
  open(emails?: string[]): void;
  /** Shows what the server has, as soon as it answers; `profiles`: an answer that is there already. Emails that
   *  were told keep their cards, and the answer's others come after them; else the cards are the answer's.
   *  Never rejects; resolves without an answer when asking again makes no sense (`isTemporary` is false, or the
   *  deck was closed, or `refresh` was called anew). */
  refresh(profiles?: Profile[]): Promise<void>;
  /** Takes cards and listeners away, and, if `forget` says so, what the cache keeps. */
  close(options?: { forget?: boolean }): void;
}
