import type { CallOptions, ProfileClient } from "./persona-profile.js";

export interface BeginOptions extends CallOptions {
  /** Of the profile server, which gives the nonce. */
  client: ProfileClient;
  /** Of the provider, from its discovery document. */
  authorizationEndpoint: string;
  /** The provider's identifier, letter by letter as the profile server's `openid.issuers` has it. */
  issuer: string;
  /** By which the provider knows this dialog. */
  clientId: string;
  /** Where the provider sends the browser back; registered there. `/` of this origin unless told. */
  redirectUri?: string;
  /** The address that the person has chosen, if they have. */
  loginHint?: string;
  /** `none` asks nobody and fails unless the person is signed in; `select_account` always asks. */
  prompt?: string;
  /** Where the request outlives the redirect, in this tab alone; `sessionStorage` unless told. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
}

export interface Answer {
  /** A proof for `ProfileClient.signIn`: `[{ id_token: idToken }]`; not yet verified by anybody. */
  idToken: string;
  /** Whose proof it is, as the token says. */
  email: string | null;
}

/**
 * Sends the browser to a provider (OpenID Connect Core 1.0, implicit flow with `id_token` alone); the page ends.
 * Throws a ProfileError if the profile server gives no nonce: then nothing has happened.
 */
export function beginSignIn(options: BeginOptions): Promise<void>;

/**
 * Takes the provider's answer out of the address of the page, and out of the history; null if there is none.
 * Call it before anything else, on each load of the page of `redirectUri`.
 *
 * Throws a ProfileError of code `sign_in_denied` (the person refused), `sign_in_failed` (the provider did; the
 * message has its reason) or `sign_in_mismatch` (the answer is to no request of this tab, or to an earlier one).
 */
export function takeAnswer(options?: Pick<BeginOptions, "storage">): Answer | null;
