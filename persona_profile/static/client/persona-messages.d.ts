import type { ProfileError } from "./persona-profile.js";

/**
 * The next step that a dialog can offer:
 * `retry` the same call, as a button; `wait`, then retry (`error.retryAfter`);
 * `sign-in` with new proofs; sign in with an `other-address`; `choose-file`: the same or another;
 * `correct` the named fields; `look-again` at the present profile, then repeat; request the person's own
 * `key`; `report` a mistake of the page or the server; `none`: the person cancelled.
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

/**
 * The sentences of a language, by code; missing sentences are in English. messages/en.json has all keys, among them
 * `language` (for numbers and units) and the names of fields.
 *
 * A sentence may have placeholders: `{wait}`, `{limit_bytes}`, `{limit_megapixels}`, `{megapixels}`,
 * `{request_id}`, `{fields}`, `{code}`. `[in {wait}|soon]` stands for "in 5 seconds", or for "soon" if the error
 * has no such value.
 */
export type Translations = Record<string, string | undefined | ((error: ProfileError) => string)>;

/** Every code with a sentence of its own: the codes of docs/reference/api.md of the service, and those of the client. */
export const codes: readonly string[];

/**
 * Explains an error to a person. Accepts anything that was thrown, also `{code}` alone (as in a profile's `error`);
 * an unknown error gets a sentence too.
 */
export function explain(error: unknown, translations?: Translations): Explanation;
