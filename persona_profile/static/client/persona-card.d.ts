/// <reference path="./persona-card-react.d.ts" />
import type { Profile, ProfileClient } from "./persona-profile.js";

/** The stand-in for a picture, derived from the email and the name: the same on every device. */
export interface Monogram {
  /** One or two letters, or an emoji; never empty. */
  text: string;
  /** Degrees, 0 to 359. */
  hue: number;
}
export function monogram(email: string, name?: string | null): Monogram;

/**
 * `pending`: waiting, with the cached card or a monogram; `fallback`: the server did not answer in time, or
 * reported an error; `ready`: the server's profile. A `ready` card stays `ready` when a later answer fails, and
 * becomes `fallback` only if the profile itself can no longer be opened (its `error`).
 */
export type CardState = "pending" | "fallback" | "ready";

/** The `detail` of the event `choose`. */
export interface Choice {
  email: string;
  /** The profile on the card, or null if it shows a monogram. */
  profile: Profile | null;
}

/** The attributes and properties of `<persona-card>` in a template, such as JSX. */
export interface PersonaCardAttributes {
  email?: string;
  selected?: boolean;
  selectable?: boolean;
  disabled?: boolean;
  notice?: string;
  /** Milliseconds. */
  patience?: number | string;
  profile?: Profile | null;
  onchoose?: (event: CustomEvent<Choice>) => void;
  onstatechange?: (event: Event) => void;
}

declare global {
  interface HTMLElementTagNameMap {
    "persona-card": PersonaCard;
  }
  // The event bubbles: the container of the cards, the document and the window get it too.
  interface ElementEventMap {
    choose: CustomEvent<Choice>;
  }
  interface GlobalEventHandlersEventMap {
    choose: CustomEvent<Choice>;
  }
}

/**
 * One profile card: `<persona-card email="alice@example.com"></persona-card>`.
 *
 * A card is painted at once: with the cached profile, or a monogram. A late answer replaces this without a change
 * of size. A card is one button: pressing it dispatches `choose` (bubbling, composed; `detail` is a `Choice`);
 * the page sets `selected` then. A change of `state` dispatches `statechange` (bubbling). An answer about another
 * email, or of another shape, is ignored.
 *
 * A card follows the `color-scheme` and direction of the page. Its size depends only on the font size: its `rem`
 * is that of the page.
 *
 * Attributes: `email`; `notice` (a sentence in place of nickname, pronouns and website, such as the one of
 * `explainRemoval` in persona-messages.js); `selected` (shown, and announced as pressed, if `selectable` is set); `disabled`.
 * CSS custom properties: `--persona-card-surface`, `--persona-card-ink`, `--persona-card-muted`,
 * `--persona-card-accent`, `--persona-card-radius`, `--persona-card-ground` (the background of transparent
 * pictures; by default a grey on which black and white are seen). Parts: `card`, `portrait`, `name`, `email`, `label`, `about`.
 */
export class PersonaCard extends HTMLElement {
  email: string;
  /** Empty by default, and again when `profile` is set to null. */
  notice: string;
  selected: boolean;
  selectable: boolean;
  disabled: boolean;
  /** The profile on the card; null while the card shows a monogram. A new value is shown without a change of
   *  `state`. Null returns to the monogram and to `pending`, and drops answers that are under way. */
  profile: Profile | null;
  readonly state: CardState;
  /**
   * Shows the answer when it arrives. After 800 ms (attribute `patience`, in milliseconds) the card becomes
   * `fallback`; a later answer is shown nevertheless. Never rejects.
   */
  await(answer: Promise<Profile | undefined>): Promise<void>;
}

/**
 * The cards of the last visit, stored by the browser so that they are painted before the network answers: claims
 * and thumbnails, no token, no URL of a picture; at most 20 emails and about a megabyte.
 *
 * The store is not encrypted. So of a protected profile only the email is stored; `get` returns null for it.
 */
export class CardCache {
  /** @param name of the item in `localStorage`; `persona-cards` by default */
  constructor(name?: string);
  /** The name of the item in `localStorage`, which is the `key` of `storage` events. */
  readonly name: string;
  /** The email addresses, in order; unreadable entries are skipped. */
  readonly emails: string[];
  /** Returns a profile with empty `etag`, `version` and `updated_at` ("", 0, null), so that no change is based
   *  on it. */
  get(email: string): Profile | null;
  /** Replaces all profiles by the first 20 of these. An unreadable profile leaves the entry of its email. If
   *  there is no room, thumbnails are left out. Errors of the storage are ignored. */
  put(profiles: Profile[]): void;
  /** Removes one email, or all: after a sign-out, or after an erasure. */
  forget(email?: string): void;
}

/**
 * Connects cards, client and cache: shows cached cards first, then the answer of the server. It retries until
 * there is an answer, with growing pauses, and at once when the browser is online or visible again, but not before
 * `retryAfter`.
 *
 * A session that ends early (a sign-out, in this tab or elsewhere) clears the cache, and the cards become
 * monograms. A session that expires leaves both for the next visit. When another tab clears the cache, cards from
 * the cache become monograms; `ready` cards stay.
 */
export class CardDeck {
  constructor(options: {
    client: Pick<ProfileClient, "session" | "profiles" | "addEventListener">;
    container: Element;
    cache?: CardCache | null;
    emails?: string[];
    /** Returns the `notice` of a profile's card, or an empty text. */
    noticeOf?: (profile: Profile) => string;
  });
  /** In the order of the emails. */
  readonly cards: PersonaCard[];
  /** Shows cards for these emails at once; by default those of the session, or else of the cache. It sends no
   *  request: call `refresh` next. */
  open(emails?: string[]): void;
  /**
   * Requests the profiles and shows them, or shows `profiles`, an answer that the page already has. Emails given
   * to `open` keep their cards, and cards for other emails of the answer follow; without given emails the cards
   * are those of the answer. Never rejects. Resolves without an answer when a retry is useless (`isTemporary` is
   * false), the deck was closed, or `refresh` was called again.
   */
  refresh(profiles?: Profile[]): Promise<void>;
  /** Removes cards and listeners; with `forget`, clears the cache too. */
  close(options?: { forget?: boolean }): void;
}
