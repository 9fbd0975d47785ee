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
 *  or refused; `ready`: what the server has. */
export type CardState = "pending" | "fallback" | "ready";

/**
 * One profile card: `<persona-card email="alice@example.com"></persona-card>`.
 *
 * It paints at once, before any answer: what the last opening left in the cache, or a monogram. An answer
 * that comes late replaces that without a change of size. It is one button: pressing it dispatches `choose`
 * (bubbling, composed; `detail: {email, profile}`). `state` changes dispatch `statechange`.
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
  /** What is shown; null while only a monogram is. */
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
 * answers: claims and thumbnails, no token, no picture URL.
 */
export class CardCache {
  /** Its name in `localStorage`; `persona-cards` unless told. */
  constructor(name?: string);
  /** The email addresses, in order; what can't be read counts as nothing. */
  readonly emails: string[];
  get(email: string): Profile | null;
  /** Replaces what is kept. A browser that keeps nothing is no error. */
  put(profiles: Profile[]): void;
  /** Forgets one email, or all: when a person signs out or erases. */
  forget(email?: string): void;
}

/**
 * Keeps cards, the client and the cache together: cached cards first, then the server's answer, again and
 * again until there is one (backing off, and at once when the browser is online or visible again).
 */
export class CardDeck {
  constructor(options: { client: ProfileClient; container: Element; cache?: CardCache | null; emails?: string[] });
  /** In the order of the emails. */
  readonly cards: PersonaCard[];
  /** Shows cards for these emails, at once; the cached ones, or those of the session, unless told. */
  open(emails?: string[]): void;
  /** Shows what the server has, as soon as it answers; `profiles`: an answer that is there already. */
  refresh(profiles?: Profile[]): Promise<void>;
  /** Takes cards, cache and listeners away. */
  close(options?: { forget?: boolean }): void;
}
