// A person's own key on paper. persona-recovery-code.d.ts is the reference.

import { ProfileError } from "./persona-profile.js";

/** @import * as declared from "./persona-recovery-code.js" */

// Base 32 of Douglas Crockford: without I, L, O and U, which look like other characters, or make words.
const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const LOOKALIKES = /** @type {Record<string, string>} */ ({ I: "1", L: "1", O: "0" });
const SECRET_BYTES = 32;
const SECRET_DIGITS = 52;
const CHECK_DIGITS = 4;
const MAX_TYPED = 1000; // characters, separators included
const GROUP = /.{4}/g;
const CHECK_INFO = "persona-profile recovery check v1";
const INFO = "persona-profile recovery code v1";

/** @type {typeof declared.newRecoveryCode} */
export async function newRecoveryCode() {
  const secret = crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
  const digits = encode(secret) + (await checkOf(secret));
  return { code: (digits.match(GROUP) ?? []).join("-"), profileKey: await derive(secret, INFO) };
}

/** @type {typeof declared.useRecoveryCode} */
export async function useRecoveryCode(code) {
  // NFKC: a Japanese keyboard types wide letters. Whatever separates the groups is left out.
  const typed = code
    .slice(0, MAX_TYPED)
    .normalize("NFKC")
    .toUpperCase()
    .replace(/[\s\p{Pd}\p{Po}\p{Cf}\u2212]+/gu, "");
  const digits = typed.replace(/[ILO]/g, (each) => LOOKALIKES[each]);
  const secret = decode(digits.slice(0, SECRET_DIGITS));
  if (
    digits.length !== SECRET_DIGITS + CHECK_DIGITS ||
    !secret ||
    digits.slice(SECRET_DIGITS) !== (await checkOf(secret))
  ) {
    const details = { digits: digits.length, of: SECRET_DIGITS + CHECK_DIGITS };
    throw new ProfileError("recovery_code_invalid", "A digit is missing or wrong.", { details });
  }
  return derive(secret, INFO);
}

/** @type {typeof declared.derive} */
export async function derive(secret, info) {
  return base64url(await hkdf(secret, info));
}

/**
 * @param {BufferSource} secret
 * @param {string} info
 */
async function hkdf(secret, info) {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const algorithm = {
    name: "HKDF",
    hash: "SHA-256",
    salt: new Uint8Array(),
    info: new TextEncoder().encode(info),
  };
  return crypto.subtle.deriveBits(algorithm, key, 256);
}

/** @type {typeof declared.base64url} */
export function base64url(data) {
  const bytes = ArrayBuffer.isView(data)
    ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    : new Uint8Array(data);
  return btoa(String.fromCharCode(...bytes))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/**
 * Returns the check digits, 20 bits: one of a million wrong codes passes.
 * @param {BufferSource} secret
 */
async function checkOf(secret) {
  return encode(new Uint8Array(await hkdf(secret, CHECK_INFO))).slice(0, CHECK_DIGITS);
}

/** @param {Uint8Array} bytes */
function encode(bytes) {
  const bits = Array.from(bytes, (each) => each.toString(2).padStart(8, "0")).join("");
  return bits.replace(/.{1,5}/g, (five) => DIGITS[parseInt(five.padEnd(5, "0"), 2)]);
}

/**
 * Returns the bytes of the digits; null if they are none of `encode`.
 * @param {string} digits
 */
function decode(digits) {
  const bits = Array.from(digits, (each) => DIGITS.indexOf(each).toString(2).padStart(5, "0")).join("");
  const bytes = (bits.match(/.{8}/g) ?? []).map((eight) => parseInt(eight, 2));
  const secret = Uint8Array.from(bytes);
  return encode(secret) === digits ? secret : null;
}
