// The texts of a card: untrusted text made safe to show, and the monogram in place of a picture.

/** @import { Claims, Profile } from "./persona-profile.js" */
/** @import { Monogram } from "./persona-card.js" */

/** The server accepts 100 characters; longer texts are cut before they cost layout time. */
const MAX_CHARACTERS = 200;

// Controls, line breaks, lone surrogates, and characters that reorder or show nothing are removed.
const FORBIDDEN =
  /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB\u2800\u{13441}\u{13442}\u{16FE4}\u{1D159}]/u;

// What the service accepts of them stays with the characters before it: joiners in scripts and between emoji, a
// selector behind a base that has variants, the tags of three flags. For joiners the service has more exact data.
// No lookbehind: those of WebKit fail behind characters beyond U+FFFF.
const EMOJI = /\p{Extended_Pictographic}[\uFE0E\uFE0F]?(?:\p{Emoji_Modifier}[\uFE0E\uFE0F]?)?/u.source;
const NEEDED = [
  /\u{1F3F4}\u{E0067}\u{E0062}(?:\u{E0065}\u{E006E}\u{E0067}|\u{E0073}\u{E0063}\u{E0074}|\u{E0077}\u{E006C}\u{E0073})\u{E007F}/u,
  new RegExp(`${EMOJI}(?:\\u200D${EMOJI})+`, "u"),
  /[\p{Emoji}\p{Extended_Pictographic}][\uFE0E\uFE0F]/u,
  /\p{Unified_Ideograph}[\uFE00-\uFE02\u{E0100}-\u{E01EF}]/u,
  /\p{Script=Egyptian_Hieroglyphs}[\uFE00-\uFE06]/u,
  /[\p{Script=Myanmar}\p{Script=Phags_Pa}\p{Script=Manichaean}]\uFE00[\u200C\u200D]?/u,
  /(?=\p{L})\p{Script=Mongolian}[\u180B-\u180D\u180F]?(?:[\u200C\u200D]|\u180E(?=[\u1820\u1821]))?/u,
  /(?!\p{Variation_Selector})[\p{Lo}\p{No}\p{M}\p{Cn}\p{Script=Adlam}\p{Script=Mongolian}][\u200C\u200D]/u,
]
  .map(({ source }) => source)
  .join("|");
const HARMFUL = new RegExp(`(${NEEDED})|${FORBIDDEN.source}`, "gu");

// The fifth mark on a letter hides the texts beside it.
const STACKED = /([\p{Mn}\p{Me}]{4})[\p{Mn}\p{Me}]+/gu;
// A character that is newer than the browser counts as visible.
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}\p{Cn}]/u;

// At most three combining marks stay on a letter.
const EXTRA_MARKS = /(\p{M}{3})\p{M}+/gu;
const INITIAL = /^[\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]/u;
const CASED = /^[\p{Lu}\p{Ll}\p{Lt}]/u;

/**
 * Returns a text that is safe to show: one line of at most `limit` characters, none of which hides or reorders
 * others. Empty if nothing visible remains, or if the value is no string.
 * @param {unknown} text
 * @param {number} [limit]
 * @returns {string}
 */
export function visibleText(text, limit = MAX_CHARACTERS) {
  if (typeof text !== "string") {
    return "";
  }
  // Cut twice: first to save time on very long texts, then at whole characters.
  const short = Array.from(oneLine(text.slice(0, 4 * limit)))
    .slice(0, limit)
    .join("");
  return VISIBLE.test(short) ? short : "";
}

// White space first: line breaks are controls too, and the words around them must stay apart.
/** @param {string} text */
const oneLine = (text) =>
  text.replace(/\s+/gu, " ").replace(HARMFUL, "$1").replace(STACKED, "$1").trim();

/**
 * Returns the parts of an email as they are shown; the `@` is apart, because it is never cut.
 * @param {string} email
 * @returns {{local: string, at: string, domain: string}}
 */
export function emailParts(email) {
  // Not cut as other texts are: the end of an email identifies its domain.
  const whole = oneLine(email);
  const end = whole.lastIndexOf("@");
  return {
    local: whole.slice(0, Math.max(end, 0)),
    at: end < 0 ? "" : "@",
    domain: whole.slice(end + 1),
  };
}

/**
 * Returns the canonical form of an email: two spellings that are one email for the server have the same form.
 * @param {string} email
 * @returns {string}
 */
export function canonicalEmail(email) {
  const folded = email.normalize("NFC").toLowerCase();
  const at = folded.lastIndexOf("@") + 1;
  const domain = folded.slice(at);
  if (/^[\p{ASCII}]*$/u.test(domain) || /[\s/:?#@\\[\]%]/u.test(domain)) {
    return folded;
  }
  try {
    return folded.slice(0, at) + new URL(`https://${domain}`).hostname;
  } catch {
    return folded;
  }
}

/**
 * Returns the name on a card: a name of the profile, or else the local part of the email.
 * @param {string} email
 * @param {Profile | null} profile
 * @returns {string}
 */
export function displayName(email, profile) {
  const claim = (/** @type {keyof Claims} */ name) => visibleText(profile?.[name]);
  const parts = [claim("given_name"), claim("family_name")].filter(Boolean).join(" ");
  const { local, at, domain } = emailParts(email);
  return claim("name") || parts || claim("nickname") || visibleText(local) || visibleText(at + domain);
}

/**
 * Returns the texts of a card other than name, label and email.
 * @param {Profile | null} profile
 * @param {string} name on the card
 * @returns {string[]}
 */
export function aboutTexts(profile, name) {
  const nickname = visibleText(profile?.nickname);
  const pronouns = visibleText(profile?.pronouns);
  return [nickname === name ? "" : nickname, pronouns, websiteHost(profile?.website)].filter(Boolean);
}

/** @param {string | null} [website] */
function websiteHost(website) {
  try {
    const { protocol, host } = new URL(website ?? "");
    return protocol === "https:" ? host.replace(/^www\./, "") : "";
  } catch {
    return "";
  }
}

/**
 * @param {string} email
 * @param {string | null} [name]
 * @returns {Monogram}
 */
export function monogram(email, name) {
  const { local, domain } = emailParts(email);
  const words = local.split("+", 1)[0].split(/[._-]/u).join(" ");
  const text = initials(visibleText(name)) || initials(visibleText(words)) || initials(domain) || "?";
  return { text, hue: hueOf(email) };
}

/**
 * Returns the first letter, in scripts with upper and lower case also that of the last word; or one emoji.
 * @param {string} text
 */
function initials(text) {
  const found = text
    .replace(EXTRA_MARKS, "$1")
    .split(/\s/u)
    .map((word) => clusters(word).find((cluster) => INITIAL.test(cluster)))
    .filter((cluster) => cluster !== undefined);
  const last = found.length > 1 ? found[found.length - 1] : "";
  const both = [found[0], last].every((cluster) => cluster && CASED.test(cluster));
  return (both ? [found[0], last] : found.slice(0, 1)).map(upperCase).join("");
}

/**
 * Returns the grapheme clusters of a text: a letter with its marks, a joined emoji.
 * @param {string} text
 */
function clusters(text) {
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}

/**
 * Returns the upper case, unless that has more letters, as that of "ß" has.
 * @param {string} cluster
 */
function upperCase(cluster) {
  const upper = cluster.toUpperCase();
  return upper.length === cluster.length ? upper : cluster;
}

/**
 * Returns degrees, evenly distributed: FNV-1a, whose last characters the finalizer of MurmurHash3 spreads.
 * @param {string} email
 */
function hueOf(email) {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(canonicalEmail(email))) {
    hash = Math.imul(hash ^ byte, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  hash = (hash ^ (hash >>> 16)) >>> 0;
  return Math.floor((hash / 2 ** 32) * 360);
}
