// What stands on a card: strangers' texts made harmless, and the monogram in place of a picture.

/** The server takes 100 characters; what comes with more is cut here, so that it costs no layout. */
const LONGEST_TEXT = 200;

// Controls, line breaks, lone surrogates, and what shows nothing or turns the text around. Taken are the
// joiners of scripts and emoji, the selectors of variants, and the tags that spell a flag.
const FLAG = /(\u{1F3F4}[\u{E0020}-\u{E007E}]+\u{E007F})/u.source;
const TAKEN = /(?![\u200C\u200D\uFE00-\uFE0F\u{E0100}-\u{E01EF}])/u.source;
const REFUSED = /[\p{Cc}\p{Zl}\p{Zp}\p{Cs}\p{Default_Ignorable_Code_Point}\uFFF9-\uFFFB]/u.source;
const HARMFUL = new RegExp(`${FLAG}|${TAKEN}${REFUSED}`, "gu");
const VISIBLE = /[\p{L}\p{N}\p{P}\p{S}]/u;

// A letter may carry marks; a tower of them is no letter any more.
const TOWER = /(\p{M}{3})\p{M}+/gu;
const INITIAL = /^[\p{L}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]/u;
const CASED = /^[\p{Lu}\p{Ll}\p{Lt}]/u;

/**
 * A text that may be shown: one line, without characters that hide or reorder others, and no more than 200
 * characters. Empty if nothing is left to see, or if it is no text.
 *
 * @param {unknown} text
 * @returns {string}
 */
export function visibleText(text) {
  if (typeof text !== "string") {
    return "";
  }
  // Cut twice: the first spares the work on what is far too long, the second keeps characters whole.
  const short = Array.from(oneLine(text.slice(0, 4 * LONGEST_TEXT)))
    .slice(0, LONGEST_TEXT)
    .join("");
  return VISIBLE.test(short) ? short : "";
}

/** Space first: line breaks are controls too, and what they part must not run together. */
const oneLine = (text) => text.replace(/\s+/gu, " ").replace(HARMFUL, "$1").trim();

/**
 * The two halves of an email as they are shown; the `@` belongs to the domain.
 *
 * @param {string} email
 * @returns {{local: string, domain: string}}
 */
export function emailParts(email) {
  // Not cut like other texts: its end is what counts.
  const whole = oneLine(email);
  const at = whole.lastIndexOf("@");
  return at < 0 ? { local: "", domain: whole } : { local: whole.slice(0, at), domain: whole.slice(at) };
}

/**
 * The one spelling that two spellings of an email share, as far as the server tells them apart.
 *
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
 * What a card calls a person: a name of the profile, or else what stands before the `@`.
 *
 * @param {string} email
 * @param {import("./persona-profile.js").Profile | null} profile
 * @returns {string}
 */
export function displayName(email, profile) {
  const claim = (name) => visibleText(profile?.[name]);
  const parts = [claim("given_name"), claim("family_name")].filter(Boolean).join(" ");
  const { local, domain } = emailParts(email);
  return claim("name") || parts || claim("nickname") || visibleText(local) || visibleText(domain);
}

/**
 * What a card tells beside name and email; no empty texts.
 *
 * @param {import("./persona-profile.js").Profile | null} profile
 * @param {string} name what the card calls the person
 * @returns {string[]}
 */
export function aboutTexts(profile, name) {
  const nickname = visibleText(profile?.nickname);
  const pronouns = visibleText(profile?.pronouns);
  return [nickname === name ? "" : nickname, pronouns, websiteHost(profile?.website)].filter(Boolean);
}

function websiteHost(website) {
  try {
    const { protocol, host } = new URL(website);
    return protocol === "https:" ? host.replace(/^www\./, "") : "";
  } catch {
    return "";
  }
}

/**
 * What stands in for a picture.
 *
 * @param {string} email
 * @param {string | null} [name]
 * @returns {import("./persona-card.js").Monogram}
 */
export function monogram(email, name) {
  const { local, domain } = emailParts(email);
  const words = local.split("+", 1)[0].split(/[._-]/u).join(" ");
  const text = initials(visibleText(name)) || initials(visibleText(words)) || initials(domain) || "?";
  return { text, hue: hueOf(email) };
}

/** The first letter, and that of the last word where letters of that script stand alone; or one emoji. */
function initials(text) {
  const found = text
    .replace(TOWER, "$1")
    .split(/\s/u)
    .map((word) => clusters(word).find((cluster) => INITIAL.test(cluster)))
    .filter(Boolean);
  const last = found.length > 1 ? found.at(-1) : "";
  const both = [found[0], last].every((cluster) => cluster && CASED.test(cluster));
  return (both ? [found[0], last] : found.slice(0, 1)).map(upperCase).join("");
}

/** As people see characters: a letter with its marks, a family of emoji. */
function clusters(text) {
  return Array.from(new Intl.Segmenter().segment(text), ({ segment }) => segment);
}

/** Not where the capital is more than one letter, as with "ß". */
function upperCase(cluster) {
  const upper = cluster.toUpperCase();
  return upper.length === cluster.length ? upper : cluster;
}

/** Even over the circle: FNV-1a, then the finaliser of MurmurHash3, which spreads its last characters. */
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
