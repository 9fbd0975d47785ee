// A person's own key from a passkey, by the extension `prf` of WebAuthn. persona-passkey.d.ts is the reference.

import { ProfileError } from "./persona-profile.js";
import { base64url, derive } from "./persona-recovery-code.js";

/** @import * as declared from "./persona-passkey.js" */

// One for the service, for ever: with another salt every passkey gives another key.
const SALT = new TextEncoder().encode("persona-profile/passkey/v1");
const INFO = "persona-profile profile_key v1";
const SECRET_BYTES = 32;

/** Offsets of authenticator data (WebAuthn Level 3, section 6.1). */
const FLAGS_AT = 32;
const USER_VERIFIED = 0x04;

/** EdDSA, ES256, RS256: nobody verifies a signature, but every authenticator has one of them. */
const ALGORITHMS = [-8, -7, -257];

/** @type {Record<string, [code: string, message: string]>} */
const REASONS = {
  NotAllowedError: ["passkey_cancelled", "The person cancelled, or did not answer in time."],
  SecurityError: ["passkey_forbidden", "This page may not use passkeys of this domain."],
  InvalidStateError: ["passkey_exists", "This authenticator has one of the excluded passkeys."],
  AbortError: ["aborted", "Aborted by the signal of the call."],
};

/** @type {typeof declared.support} */
export async function support() {
  if (!isSecureContext) {
    return "insecure";
  }
  if (isAddress(location.hostname)) {
    return "address";
  }
  if (typeof PublicKeyCredential === "undefined") {
    return "unsupported";
  }
  try {
    const { "extension:prf": prf } = await PublicKeyCredential.getClientCapabilities();
    return prf === undefined ? "unknown" : prf ? "supported" : "unsupported";
  } catch {
    return "unknown"; // an older browser, which lists no capabilities
  }
}

/** @type {typeof declared.createPasskey} */
export async function createPasskey({ name, displayName = name, service, rpId, exclude = [], signal }) {
  /** @type {PublicKeyCredentialCreationOptions} */
  const publicKey = {
    challenge: random(32),
    rp: { id: rpId, name: service },
    // Another one with the same identifier would replace this passkey, and its key would be lost.
    user: { id: random(32), name, displayName },
    pubKeyCredParams: ALGORITHMS.map((alg) => ({ type: "public-key", alg })),
    authenticatorSelection: {
      residentKey: "required",
      requireResidentKey: true,
      userVerification: "required",
    },
    attestation: "none",
    excludeCredentials: exclude.map(descriptor),
    extensions: { prf: { eval: { first: SALT } } },
  };
  const create = () => navigator.credentials.create({ publicKey, signal });
  const credential = await call(() =>
    create().catch((error) => {
      if (error.name in REASONS) {
        throw error;
      }
      // Windows Hello can fail at the extension, and know it at the next request nevertheless.
      publicKey.extensions = /** @type {any} */ ({ hmacCreateSecret: true });
      return create();
    }),
  );
  const { prf } = credential.getClientExtensionResults();
  if (publicKey.extensions?.prf && !prf?.enabled && !prf?.results) {
    throw unsupported();
  }
  const id = credential.id;
  const first = await secretOf({ rpId, signal, id });
  // Safari 26.4 gave other secrets for the keys of some authenticators each time.
  if (!isSame(first, prf?.results?.first) && !isSame(first, await secretOf({ rpId, signal, id }))) {
    throw new ProfileError("passkey_unreliable", "This passkey gives another key each time.");
  }
  return { profileKey: await derive(first, INFO), id };
}

/** @type {typeof declared.usePasskey} */
export async function usePasskey({ rpId, signal } = {}) {
  return derive(await secretOf({ rpId, signal }), INFO);
}

/**
 * Returns the secret of a passkey: of the one with this identifier, or of one that the person chooses.
 * @param {{ rpId?: string, signal?: AbortSignal, id?: string }} options
 * @returns {Promise<BufferSource>}
 */
async function secretOf({ rpId, signal, id }) {
  /** @type {PublicKeyCredentialRequestOptions} */
  const publicKey = {
    challenge: random(32),
    rpId,
    userVerification: "required",
    allowCredentials: id ? [descriptor(id)] : [],
    extensions: { prf: { eval: { first: SALT } } },
  };
  const credential = await call(() => navigator.credentials.get({ publicKey, signal }));
  const { authenticatorData } = /** @type {AuthenticatorAssertionResponse} */ (credential.response);
  if (!(new Uint8Array(authenticatorData)[FLAGS_AT] & USER_VERIFIED)) {
    // An authenticator has another secret for requests in which it verifies nobody.
    throw new ProfileError("passkey_unreliable", "The authenticator did not verify the person.");
  }
  const secret = credential.getClientExtensionResults().prf?.results?.first;
  if (secret?.byteLength !== SECRET_BYTES) {
    throw unsupported();
  }
  return secret;
}

/**
 * Returns the credential of a request.
 * @param {() => Promise<Credential | null>} request
 */
async function call(request) {
  if (!globalThis.navigator?.credentials || typeof PublicKeyCredential === "undefined") {
    throw unsupported();
  }
  try {
    const credential = await request();
    if (credential) {
      return /** @type {PublicKeyCredential} */ (credential);
    }
  } catch (cause) {
    const [code, message] = REASONS[cause.name] ?? [
      "passkey_unsupported",
      `The browser says: ${cause.name}.`,
    ];
    throw new ProfileError(code, message, { cause });
  }
  throw unsupported();
}

const unsupported = () =>
  new ProfileError("passkey_unsupported", "This browser or authenticator gives no key of a passkey.");

/** @type {(id: string) => PublicKeyCredentialDescriptor} */
const descriptor = (id) => ({
  type: "public-key",
  id: Uint8Array.from(atob(id.replaceAll("-", "+").replaceAll("_", "/")), (each) => each.charCodeAt(0)),
});

/** @param {number} count */
const random = (count) => crypto.getRandomValues(new Uint8Array(count));

/**
 * @param {BufferSource} secret
 * @param {BufferSource} [other]
 */
const isSame = (secret, other) => other !== undefined && base64url(secret) === base64url(other);

/** Whether a host is an IP address, for which browsers have no passkeys. @param {string} host */
const isAddress = (host) => host.startsWith("[") || /^\d+(\.\d+){3}$/.test(host);
