// Sentences of a language: placeholders, plurals, the choice of a language and its direction. For the modules of
// the client and the demo; pages need none of it.

/** @import { Message } from "./persona-messages.js" */
/** @typedef {Record<string, string | number | undefined>} Values a number is written as the language writes it */

/** A placeholder, or a part of a sentence that depends on it: `[part with {placeholder}|part without]`. */
const PLACEHOLDER = /\[([^[\]{}|]*)\{(\w+)\}([^[\]{}|]*)(?:\|([^[\]{}|]*))?\]|\{(\w+)\}/g;

/** Scripts that are written from right to left. */
const RIGHT_TO_LEFT = ["Adlm", "Arab", "Hebr", "Mand", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa"];
/** Letters that are written so, and controls of the direction. */
const HAS_RIGHT_TO_LEFT =
  /[\u0590-\u08ff\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufeff\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * Returns the sentence of a message. `{count}` decides between the forms of a plural.
 * @param {Message} message
 * @param {Values} values
 * @param {string} locale a BCP 47 tag
 * @returns {string}
 */
export function fill(message, values, locale) {
  return formOf(message, values, locale).replace(
    PLACEHOLDER,
    (_, before, optional, after, without = "", name = optional) => {
      const value = values[name];
      const isMissing = value === undefined || value === "";
      if (isMissing) {
        return without;
      }
      return `${before ?? ""}${written(value, locale)}${after ?? ""}`;
    },
  );
}

/**
 * Returns a message whose placeholders are not filled yet.
 * @param {Message} message
 * @param {Values} values
 * @param {string} locale
 */
export function formOf(message, { count }, locale) {
  if (typeof message === "string") {
    return message;
  }
  return message[new Intl.PluralRules(locale).select(Number(count))] ?? message.other;
}

/**
 * Returns a value for a sentence. The direction of an address or a name changes nothing around it.
 * @param {string | number} value
 * @param {string} locale
 */
function written(value, locale) {
  if (typeof value === "number") {
    return new Intl.NumberFormat(locale).format(value);
  }
  const mayMix = directionOf(locale) === "rtl" || HAS_RIGHT_TO_LEFT.test(value);
  return mayMix ? `\u2068${value}\u2069` : value;
}

/**
 * @param {string} language a BCP 47 tag
 * @returns {"ltr" | "rtl"}
 */
export function directionOf(language) {
  const { script } = new Intl.Locale(language).maximize();
  return RIGHT_TO_LEFT.includes(script ?? "") ? "rtl" : "ltr";
}

/**
 * Returns the first of the wanted languages that there is, by lookup as in RFC 4647, 3.4: `de-AT` is `de`. The
 * locale is the wanted tag itself, by which numbers and dates are written; both are English if there is none.
 * @param {readonly string[]} wanted BCP 47 tags
 * @param {readonly string[]} available
 * @returns {{ language: string, locale: string }}
 */
export function chooseLanguage(wanted, available) {
  for (const locale of wanted.flatMap(canonical)) {
    for (let tag = locale; tag; tag = tag.slice(0, Math.max(0, tag.lastIndexOf("-")))) {
      if (available.includes(tag)) {
        return { language: tag, locale };
      }
    }
  }
  return { language: "en", locale: "en" };
}

/** @param {string} tag */
function canonical(tag) {
  try {
    return Intl.getCanonicalLocales(tag);
  } catch {
    return []; // no tag
  }
}
