import type { CallOptions } from "./persona-profile.js";

export interface PasskeyOptions extends CallOptions {
  /**
   * The domain of the passkey (`rp.id`): this host, by default, or a domain above it. Another domain is another
   * passkey, and so another key.
   */
  rpId?: string;
}

export interface CreateOptions extends PasskeyOptions {
  /** The account name of the passkey, which password managers list: an email of the person. */
  name: string;
  /** A name for people; `name` by default. */
  displayName?: string;
  /** The name of the service (`rp.name`). */
  service: string;
  /** Identifiers of passkeys that the person has already: an authenticator that has one of them makes no second. */
  exclude?: string[];
}

export interface Passkey {
  /** The key for `profileKey` and `setProfileKey` of `ProfileClient`: 32 bytes in base64url. Never store it. */
  profileKey: string;
  /** The identifier of the passkey in base64url, for `exclude`; no secret. */
  id: string;
}

/**
 * Whether this page can ask for keys of passkeys: `supported`; `unknown` (an older browser: try it);
 * `unsupported`; `insecure` (the page is not served by https); or `address` (its host is an IP address, for which
 * no browser has passkeys: on the developer's own machine, `localhost` works).
 */
export function support(): Promise<"supported" | "unknown" | "unsupported" | "insecure" | "address">;

/**
 * Makes a passkey, and returns its key (WebAuthn Level 3, extension `prf`). The browser asks the person two or three
 * times: to make the passkey, then to use it until it has given the same key twice.
 *
 * Throws a ProfileError of code `passkey_unsupported` (the passkey may have been made nevertheless, and is of no use),
 * `passkey_unreliable` (the keys differ, or nobody was verified), `passkey_exists`, `passkey_cancelled`,
 * `passkey_forbidden` (another domain's `rpId`, or a frame without permission) or `aborted`.
 */
export function createPasskey(options: CreateOptions): Promise<Passkey>;

/**
 * Returns the key of a passkey that the person chooses: 32 bytes in base64url. Errors are those of `createPasskey`.
 */
export function usePasskey(options?: PasskeyOptions): Promise<string>;
