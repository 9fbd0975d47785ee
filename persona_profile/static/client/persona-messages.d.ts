import type { Profile, ProfileError } from "./persona-profile.js";

/**
 * The next step that a dialog can offer:
 * `retry` the same call, as a button; `wait`, then retry (`error.retryAfter`);
 * `sign-in` with new proofs; sign in with an `other-address`; `choose-file`: the same or another;
 * `correct` the named fields; `look-again` at the present profile, then repeat; request the person's own
 * `key`; `report` a mistake of the page or the server; `none`: the person cancelled, or can only wait for days.
 */
export type Action =
  | "retry"
  | "wait"
  | "sign-in"
  | "other-address"
  | "choose-file"
  | "correct"
  | "look-again"
  | "key"
  | "report"
  | "none";

export interface Explanation {
  /** The problem and the next step in one or two plain sentences; text, not HTML. */
  text: string;
  action: Action;
  /** One sentence for each invalid field, by its name in the API; empty for most errors. */
  fields: { name: string; text: string }[];
}

/** A sentence, or its plural forms, of which `{count}` decides. */
export type Message = string | ({ other: string } & { [Form in Intl.LDMLPluralRule]?: string });

/** All sentences of a language, as messages/en.json has them: by code, by a key that several codes share, `field.` and a
 *  claim, `description.` and a reason against a field. */
export type Sentences = Record<string, Message>;

/**
 * Sentences in place of the English ones, by key or by code; missing sentences are in English. `language`, a BCP 47 tag,
 * decides how numbers and units are written, and by which rules plurals are chosen.
 *
 * A sentence may have placeholders: `{wait}`, `{limit_bytes}`, `{limit_pixels}`, `{pixels}`, `{request_id}`,
 * `{fields}`, `{code}`, `{until}`, `{reason}`. `[in {wait}|soon]` stands for "in 5 seconds", or for "soon" if the error has no such value.
 */
export type Translations = {
  language?: string;
  direction?: "ltr" | "rtl";
  [key: string]: Message | undefined | ((error: ProfileError) => string);
};

/** The BCP 47 tags of the languages that there are, sorted. */
export const languages: readonly string[];

/**
 * Loads the sentences of a language: of the first that there is of `lang`, by default the browser's languages. `de-AT`
 * gets German, with the numbers of Austria. Only that language is fetched; English is built in, and is returned if there
 * is none of them or its file can't be loaded. Never rejects.
 */
export function loadTranslations(options?: {
  lang?: string | readonly string[];
}): Promise<Translations & { language: string; direction: "ltr" | "rtl" }>;

/** Every code with a sentence of its own: the codes of docs/reference/api.md of the service, and those of the client. */
export const codes: readonly string[];

/**
 * Explains an error to a person. Accepts anything that was thrown, also `{code}` alone (as in a profile's `error`);
 * an unknown error gets a sentence too.
 */
export function explain(error: unknown, translations?: Translations): Explanation;

/**
 * Returns why an operator has removed the picture of a profile, and until when no other one is accepted; empty if none
 * was removed. Text, not HTML: for the person whose profile it is, such as the `notice` of a card.
 */
export function explainRemoval(
  profile: Pick<Profile, "picture_removal">,
  translations?: Translations,
): string;
