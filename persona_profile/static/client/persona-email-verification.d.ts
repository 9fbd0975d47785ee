import type { Nonce, ProfileClient } from "./persona-profile.js";

export interface EmailVerificationOptions {
  /** A client of the profile server, which issues the nonce. */
  client: Pick<ProfileClient, "nonce">;
  /** The form in which the person types an address. It is submitted by a button or by `requestSubmit()`. */
  form: HTMLFormElement;
  /** The field of the address, with `autocomplete="email"`; by default the form's first input of type `email`. */
  input?: HTMLInputElement;
}

/**
 * Lets the browser prove the address that a person types into a form, by the Email Verification Protocol.
 *
 * A hidden field is added to the form. When the form gets the focus, the profile server issues a nonce for it. Once
 * the person has typed an address and left its field, the browser asks the address's provider for a token, and
 * fills it in when the form is submitted. Without the protocol in the browser, or at the provider, there is no token
 * and no error.
 */
export class EmailVerification {
  /** Throws a TypeError if the form has no field for an address. */
  constructor(options: EmailVerificationOptions);
  /**
   * Sets a nonce, unless there is one of sufficient life. The focus does this by itself; wait for it only if a script
   * fills in the address. It never rejects: without a nonce there is no token.
   */
  prepare(): Promise<void>;
  /**
   * Returns the proof of the address in the field, for `ProfileClient.signIn`, or null. Call it in the listener of
   * `submit`, before anything is awaited. A proof is returned once.
   */
  take(): { evt: string } | null;
  /** Removes the field and its listeners. A nonce under way is dropped. */
  close(): void;
}

/** Returns a value of the field if it is the form of a token for this address, else null; nothing is verified. */
export function tokenOf(value: string, email: string): string | null;

/** Returns whether a new nonce must be set: there is none, the element lost it, or it expires too soon. */
export function needsNonce(nonce: Nonce | null, shown: string | null, now: number): boolean;
