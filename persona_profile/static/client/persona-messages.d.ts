import type { ProfileError } from "./persona-profile.js";

/**
 * What a dialog can offer next:
 * `retry` the same call, at once or when the person wants; `wait`, then retry (`error.retryAfter`);
 * `sign-in` with fresh proofs; `other-address` than this one; `choose-file` again or another one;
 * `correct` the fields named; `look-again` at the profile as it is now, then repeat; ask for the person's
 * own `key`; `report` a mistake of the page or the server; `none`: the person wanted it so.
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
  /** What happened and what to do, in one or two plain sentences; text, not HTML. */
  text: string;
  action: Action;
  /** One sentence for each field that is not right, by its name in the API; empty for most errors. */
  fields: { name: string; text: string }[];
}

/** The sentences of another language, by code; a code that is left away is said in English. */
export type Translations = Record<string, string | ((error: ProfileError) => string)>;

/** Every code that has a sentence of its own: those of the service's `docs/api.md`, and the client's. */
export const codes: readonly string[];

/**
 * Tells a person what an error means. Takes anything that was thrown, and `{code}` alone too (as in a
 * profile's `error`); what it does not know becomes a sentence all the same.
 */
export function explain(
  error: Partial<ProfileError> | { code: string } | unknown,
  translations?: Translations,
): Explanation;
