// Explains every error of the service and its client to a person. persona-messages.d.ts is the reference.

import { LOADERS } from "./persona-languages.js";
import english from "./persona-messages-en.js";
import { chooseLanguage, directionOf, fill } from "./persona-translation.js";

/** @import * as declared from "./persona-messages.js" */
/** @import { Values } from "./persona-translation.js" */
/** @typedef {Record<string, any>} AnyError */

/** Members of translations that are no sentences. */
const OWN_NAMES = ["language", "direction"];

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
  "look-again": `not_found precondition_failed profile_not_protected too_many_profile_keys
    last_profile_key`,
  key: `profile_key_required profile_key_wrong passkey_unsupported passkey_unreliable passkey_exists
    passkey_forbidden recovery_code_invalid`,
  report: `malformed_request origin_refused fedcm_direct_call method_not_allowed not_acceptable
    misdirected_request not_implemented internal_error`,
  none: "aborted sign_in_denied passkey_cancelled picture_locked picture_removed",
};

/** @type {Record<string, string>} Sentences that several codes share, by key. */
const SHARED = {
  proof_unreadable: `proof_too_large malformed_bundle malformed_jws assertion_times_invalid
    assertion_life_invalid key_binding_missing disclosures_not_allowed`,
  proof_not_accepted: `header_not_allowed algorithm_not_allowed algorithm_mismatch key_not_allowed
    certificate_times_invalid certificate_life_invalid certificate_signature_invalid token_times_invalid
    token_life_invalid subject_missing token_signature_invalid`,
  proof_expired: "certificate_expired assertion_expired token_expired",
  proof_not_yet_valid: "certificate_not_yet_valid assertion_not_yet_valid token_not_yet_valid",
  proof_for_other_website: "audience_mismatch authorized_party_mismatch",
  proof_invalid: "assertion_signature_invalid key_binding_signature_invalid sd_hash_mismatch",
  issuer_without_support: "issuer_record_missing",
  issuer_not_set_up: `issuer_invalid issuer_address_forbidden support_document_invalid
    support_document_too_large delegation_cycle delegation_too_long userinfo_invalid
    discovery_document_invalid key_set_invalid key_ambiguous issuer_record_ambiguous
    issuer_record_invalid issuer_record_unsigned`,
};

const ACTIONS = /** @type {Map<string, declared.Action>} */ (byCode(CODES));
const SHARED_KEYS = byCode(SHARED);

/**
 * @param {Record<string, string>} lists of codes
 * @returns {Map<string, string>} the key of the list of each code
 */
function byCode(lists) {
  return new Map(
    Object.entries(lists).flatMap(([key, list]) => list.split(/\s+/).map((code) => [code, key])),
  );
}

/** @type {typeof declared.codes} */
export const codes = Object.freeze([...ACTIONS.keys()]);

/** @type {typeof declared.languages} */
export const languages = Object.freeze(["en", ...Object.keys(LOADERS)].sort());

/** @type {typeof declared.loadTranslations} */
export async function loadTranslations({ lang = navigator.languages } = {}) {
  const { language, locale } = chooseLanguage([lang].flat(), languages);
  try {
    const sentences = Object.hasOwn(LOADERS, language) ? (await LOADERS[language]()).default : english;
    return { ...sentences, language: locale, direction: directionOf(locale) };
  } catch {
    return { ...english, language: "en", direction: "ltr" }; // the file can't be loaded
  }
}

/** @type {typeof declared.explain} */
export function explain(thrown, translations = {}) {
  const error = /** @type {AnyError} */ (thrown ?? {});
  const fields = (error.errors ?? []).map((/** @type {AnyError} */ { name, description }) => {
    const label = own(translations, `field.${name}`) ?? own(english, `field.${name}`) ?? name;
    const values = { label, description: translateDescription(description, translations) };
    return { name, text: sentenceOf("field", translations, () => values) };
  });
  const { action, keys } = classify(error);
  const key = keys.find((each) => own(translations, each)) ?? keys[keys.length - 1];
  const written = own(translations, key);
  const text =
    typeof written === "function"
      ? written(/** @type {any} */ (error))
      : sentenceOf(key, translations, (...language) => valuesOf(error, fields, ...language));
  return { text, action, fields };
}

/** @type {typeof declared.explainRemoval} */
export function explainRemoval({ picture_removal: removal }, translations = {}) {
  if (!removal) {
    return "";
  }
  const code = removal.locked_until ? "picture_locked" : "picture_removed";
  return explain({ code, details: removal }, translations).text;
}

/**
 * Returns the action for an error, and the keys of its sentence; the last one is in each language.
 * @param {AnyError} error
 * @returns {{ action: declared.Action, keys: string[] }}
 */
function classify({ code, isTemporary }) {
  const action = ACTIONS.get(code);
  if (action) {
    return { action, keys: [code, SHARED_KEYS.get(code) ?? code] };
  }
  const keys = !code || Object.hasOwn(english, code) || OWN_NAMES.includes(code) ? [] : [code];
  if (code && isTemporary) {
    return { action: "wait", keys: [...keys, "overloaded"] };
  }
  return { action: "report", keys: [...keys, code ? "unknown_code" : "no_code"] };
}

/**
 * Returns a sentence for a key; codes come from the network and may be names of Object's own members.
 * @template Sentence
 * @param {{ [key: string]: Sentence }} sentences
 * @param {string} key
 */
const own = (sentences, key) => (Object.hasOwn(sentences, key) ? sentences[key] : undefined);

/**
 * Returns the sentence of a key, in English if the translations have none.
 * @param {string} key
 * @param {declared.Translations} translations
 * @param {(locale: string, sentences: declared.Translations) => Values} values
 */
function sentenceOf(key, translations, values) {
  const translated = own(translations, key);
  const isTranslated = translated !== undefined && typeof translated !== "function";
  const message = isTranslated ? translated : english[key];
  const { language = "en" } = isTranslated ? translations : {};
  const locale = String(language);
  return fill(message, values(locale, isTranslated ? translations : english), locale);
}

/**
 * Returns the translation of an English description, which is found by the English text, as programs with
 * gettext do. A text that nobody has translated stays.
 * @param {string} text
 * @param {declared.Translations} translations
 */
function translateDescription(text, translations) {
  const plain = text.replace(/\.$/, "");
  for (const [key, message] of Object.entries(english)) {
    if (key.startsWith("description.") && own(translations, key)) {
      const forms = typeof message === "string" ? [message] : Object.values(message);
      const values = forms.map((form) => valuesIn(plain, form)).find(Boolean);
      if (values) {
        return sentenceOf(key, translations, () => values);
      }
    }
  }
  return plain;
}

/**
 * Returns the values of the placeholders in a text; null if it is not made from that form.
 * @param {string} text
 * @param {string} form
 * @returns {Values | null}
 */
function valuesIn(text, form) {
  const pattern = form
    .replace(/[.*+?^$()|[\]\\]/g, "\\$&")
    .replace("{count}", "(?<count>\\d+)")
    .replace(/\{(\w+)\}/g, "(?<$1>.+)");
  const found = new RegExp(`^${pattern}$`).exec(text);
  const { count, ...others } = found?.groups ?? {};
  return found && { ...others, count: count === undefined ? count : Number(count) };
}

/**
 * Returns the values of all placeholders; undefined if the error has none.
 * @param {AnyError} error
 * @param {declared.Explanation["fields"]} fields
 * @param {string} locale
 * @param {declared.Translations} sentences
 * @returns {Values}
 */
function valuesOf({ code, limit, details, retryAfter, requestId }, fields, locale, sentences) {
  /** @type {(value: number, unit: string, unitDisplay: "long" | "short") => string} */
  const measure = (value, unit, unitDisplay) =>
    new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay }).format(value);
  const megapixels = (/** @type {number} */ pixels) => {
    const count = Math.max(1, Math.round(pixels / 1e6));
    return sentenceOf("megapixels", sentences, () => ({ count }));
  };
  // Binary units, but "MB" is the name that people know.
  const bytes = (/** @type {number} */ count) =>
    count >= 2 ** 20
      ? measure(Math.floor(count / 2 ** 20), "megabyte", "short")
      : measure(Math.max(1, Math.floor(count / 2 ** 10)), "kilobyte", "short");
  const until = new Date(details?.locked_until ?? NaN);
  const dates = new Intl.DateTimeFormat(locale, { dateStyle: "long", timeStyle: "short" });
  const seconds = Math.ceil(retryAfter);
  const wait = () =>
    seconds < 90
      ? measure(seconds, "second", "long")
      : measure(Math.ceil(seconds / 60), "minute", "long");
  return {
    code,
    fields: fields.map(({ text }) => text).join(" "),
    limit_bytes: limit ? bytes(limit) : undefined,
    limit_pixels: limit ? megapixels(limit) : undefined,
    pixels: details?.pixels ? megapixels(details.pixels) : undefined,
    reason: details?.reason ?? undefined,
    request_id: requestId,
    until: Number.isNaN(until.valueOf()) ? undefined : dates.format(until),
    wait: retryAfter > 1 ? wait() : undefined,
  };
}
