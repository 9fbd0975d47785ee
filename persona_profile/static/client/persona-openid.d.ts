import type { CallOptions, ProfileClient } from "./persona-profile.js";

export interface BeginOptions extends CallOptions {
  /** A client of the profile server, which issues the nonce. */
  client: Pick<ProfileClient, "nonce">;
  /** The endpoint in the provider's discovery document. */
  authorizationEndpoint: string;
  /** The provider's issuer identifier, exactly as in `openid.issuers` of the profile server. */
  issuer: string;
  /** The client identifier of this dialog at the provider. */
  clientId: string;
  /** The page of the answer, registered at the provider; `/` of this origin by default. */
  redirectUri?: string;
  /** The requested scopes; `openid email` by default. With `profile` too, a blank profile gets `suggestions`. */
  scope?: string;
  /** The address that the person has chosen, if any. */
  loginHint?: string;
  /** `none` fails unless the person is signed in at the provider; `select_account` always lets them choose. */
  prompt?: string;
  /** Keeps the request over the redirect, for this tab; `sessionStorage` by default. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem">;
}

export interface Answer {
  /** A proof for `ProfileClient.signIn`: `[{ id_token: idToken }]`; not yet verified. */
  idToken: string;
  /** The email in the token. */
  email: string | null;
}

/**
 * Sends the browser to a provider (OpenID Connect Core 1.0, implicit flow with `id_token` alone) and so leaves the
 * page. Throws a ProfileError, without effect, if the profile server issues no nonce.
 */
export function beginSignIn(options: BeginOptions): Promise<void>;

/**
 * Returns the provider's answer and removes it from the address and the history; null without an answer. Call it
 * first on each load of the page of `redirectUri`.
 *
 * Throws a ProfileError of code `sign_in_denied` (the person cancelled), `sign_in_failed` (an error of the provider;
 * the message has its reason) or `sign_in_mismatch` (the answer does not match the last request of this tab).
 */
export function takeAnswer(options?: Pick<BeginOptions, "storage">): Answer | null;
