// Explains every error of the service and its client to a person. persona-messages.d.ts is the reference.

import english from "./persona-messages-en.js";

/** @import * as declared from "./persona-messages.js" */
/** @typedef {Record<string, any>} AnyError */

/** @type {Record<declared.Action, string>} */
const CODES = {
  retry: "offline no_answer timeout answer_invalid sign_in_failed sign_in_mismatch conflict",
  wait: `rate_limited overloaded storage_unavailable keys_unavailable service_unavailable profile_unreadable
    issuer_unreachable dns_unavailable key_unknown`,
  "sign-in": `session_missing session_invalid session_expired session_revoked email_not_proved
    request_headers_too_large proof_too_large malformed_bundle malformed_jws assertion_times_invalid
    certificate_expired assertion_expired certificate_not_yet_valid assertion_not_yet_valid
    assertion_life_invalid audience_mismatch assertion_signature_invalid authorized_party_mismatch
    token_expired token_not_yet_valid nonce_invalid nonce_expired access_token_invalid proof_replayed
    proof_revoked key_binding_missing key_binding_signature_invalid disclosures_not_allowed
    sd_hash_mismatch`,
  "other-address": `header_not_allowed algorithm_not_allowed algorithm_mismatch key_not_allowed
    certificate_times_invalid certificate_life_invalid email_missing email_invalid issuer_invalid
    issuer_not_authoritative issuer_without_support issuer_disabled issuer_address_forbidden
    support_document_invalid support_document_too_large delegation_cycle delegation_too_long
    certificate_signature_invalid issuer_unknown token_times_invalid token_life_invalid subject_missing
    email_not_verified userinfo_invalid discovery_document_invalid key_set_invalid key_ambiguous
    token_signature_invalid domain_not_accepted issuer_record_missing issuer_record_ambiguous
    issuer_record_invalid issuer_record_unsigned`,
  "choose-file": `file_unreadable body_too_large unsupported_media_type picture_empty picture_broken
    picture_too_many_pixels picture_too_complex crop_outside_picture crop_of_other_picture
    suggestion_invalid picture_unreachable picture_too_large`,
  correct: "validation_failed",
  "look-again": "not_found precondition_failed",
  key: "profile_key_required profile_key_wrong",
  report: `malformed_request origin_refused fedcm_direct_call method_not_allowed not_acceptable
    misdirected_request not_implemented internal_error`,
  none: "aborted sign_in_denied",
};

/** @type {Map<string, declared.Action>} */
const ACTIONS = new Map();
for (const [action, list] of Object.entries(CODES)) {
  for (const code of list.split(/\s+/)) {
    ACTIONS.set(code, /** @type {declared.Action} */ (action));
  }
}

/** A placeholder, or a part of a sentence that depends on it: `[part with {placeholder}|part without]`. */
const PLACEHOLDER = /\[([^[\]{}|]*)\{(\w+)\}([^[\]{}|]*)(?:\|([^[\]{}|]*))?\]|\{(\w+)\}/g;

/** @type {typeof declared.codes} */
export const codes = Object.freeze([...ACTIONS.keys()]);

/** @type {typeof declared.explain} */
export function explain(thrown, translations = {}) {
  const error = /** @type {AnyError} */ (thrown ?? {});
  const describe = (/** @type {AnyError} */ { name, description }) => {
    const label = own(translations, `field.${name}`) ?? own(english, `field.${name}`) ?? name;
    return { name, text: `${label}: ${description.replace(/\.$/, "")}.` };
  };
  const { action, key } = classify(error);
  const translated = own(translations, error.code) ?? own(translations, key);
  const sentence = translated ?? own(english, key);
  const { language } = translated ? translations : english;
  const fields = (error.errors ?? []).map(describe);
  const text =
    typeof sentence === "function"
      ? sentence(/** @type {any} */ (error))
      : fill(String(sentence), valuesOf(error, fields, String(language ?? "en")));
  return { text, action, fields };
}

/**
 * Returns the action for an error, and the key of its sentence.
 * @param {AnyError} error
 * @returns {{ action: declared.Action, key: string }}
 */
function classify({ code, isTemporary }) {
  const action = ACTIONS.get(code);
  if (action) {
    return { action, key: code };
  }
  if (code && isTemporary) {
    return { action: "wait", key: "overloaded" };
  }
  return { action: "report", key: code ? "unknown_code" : "no_code" };
}

/**
 * Returns a sentence for a key; codes come from the network and may be names of Object's own members.
 * @param {declared.Translations} sentences
 * @param {string} key
 */
const own = (sentences, key) => (Object.hasOwn(sentences, key) ? sentences[key] : undefined);

/**
 * @param {string} sentence
 * @param {Record<string, string | undefined>} values
 */
function fill(sentence, values) {
  return sentence.replace(PLACEHOLDER, (_, before, name, after, without = "", alone) => {
    if (alone) {
      return values[alone] ?? "";
    }
    return values[name] ? before + values[name] + after : without;
  });
}

/**
 * Returns the values of all placeholders; undefined if the error has none.
 * @param {AnyError} error
 * @param {declared.Explanation["fields"]} fields
 * @param {string} language
 */
function valuesOf({ code, limit, details, retryAfter, requestId }, fields, language) {
  /** @type {(value: number, options?: Intl.NumberFormatOptions) => string} */
  const format = (value, options) => new Intl.NumberFormat(language, options).format(value);
  /** @type {(value: number, unit: string, unitDisplay: "long" | "short") => string} */
  const measure = (value, unit, unitDisplay) => format(value, { style: "unit", unit, unitDisplay });
  const megapixels = (/** @type {number} */ count) => format(Math.max(1, Math.round(count / 1e6)));
  // Binary units, but "MB" is the name that people know.
  const bytes = (/** @type {number} */ count) =>
    count >= 2 ** 20
      ? measure(Math.floor(count / 2 ** 20), "megabyte", "short")
      : measure(Math.max(1, Math.floor(count / 2 ** 10)), "kilobyte", "short");
  const seconds = Math.ceil(retryAfter);
  const wait = () =>
    seconds < 90
      ? measure(seconds, "second", "long")
      : measure(Math.ceil(seconds / 60), "minute", "long");
  return {
    code,
    fields: fields.map(({ text }) => text).join(" "),
    limit_bytes: limit ? bytes(limit) : undefined,
    limit_megapixels: limit ? megapixels(limit) : undefined,
    megapixels: details?.pixels ? megapixels(details.pixels) : undefined,
    request_id: requestId,
    wait: retryAfter > 1 ? wait() : undefined,
  };
}
