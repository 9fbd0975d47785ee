// The texts of the page in the person's language. Every text is in messages/, and is added there.

import { LOADERS } from "./demo-languages.js";
import english from "./demo-messages-en.js";
import englishSentences from "./persona-messages-en.js";
import { explain, explainRemoval, languages, loadTranslations } from "./persona-messages.js";
import { chooseLanguage, directionOf, fill, formOf } from "./persona-translation.js";

/** @import { Message, Translations } from "./persona-messages.js" */
/** @import { Claims, Profile } from "./persona-profile.js" */
/** @import { Values } from "./persona-translation.js" */
/** @typedef {keyof typeof english | `field.${keyof Claims}`} Key of messages/ here, or of a claim there */

const STORED = "persona-demo-language";
const ATTRIBUTES = ["aria-label", "aria-roledescription", "content", "placeholder"];

let locale = "en";
/** @type {{ [key: string]: Message }} */
let texts = { ...englishSentences, ...english };
/** @type {Translations} */
let translations = {};

/**
 * Loads the texts of the language that the person has chosen, or else of the browser's; null if there is nothing
 * to load, so that an English page is complete at once.
 * @returns {Promise<void> | null}
 */
export function loadTexts() {
  const wanted = [storedLanguage() ?? navigator.languages].flat();
  const chosen = chooseLanguage(wanted, languages);
  locale = chosen.locale;
  return chosen.language === "en" ? null : load(chosen.language, wanted);
}

/**
 * @param {string} language
 * @param {string[]} wanted
 */
async function load(language, wanted) {
  try {
    const [sentences, loaded] = await Promise.all([
      loadTranslations({ lang: wanted }),
      LOADERS[language](),
    ]);
    if (sentences.language === locale) {
      translations = sentences;
      texts = { .../** @type {Record<string, Message>} */ (sentences), ...loaded.default };
      return;
    }
  } catch {
    // The file can't be loaded: the page is in English.
  }
  locale = "en";
}

/**
 * Returns a text of the page.
 * @param {Key} key
 * @param {Values} [values]
 */
export const text = (key, values = {}) => fill(texts[key], values, locale);

/** @param {number} part @returns {string} */
export const percent = (part) => new Intl.NumberFormat(locale, { style: "percent" }).format(part);

/** @param {string} time of RFC 3339 */
export const dateAndTime = (time) =>
  new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));

/** @param {string[]} emails @returns {string} */
export const list = (emails) =>
  new Intl.ListFormat(locale).format(emails.map((email) => fill("{email}", { email }, locale)));

/**
 * Explains an error in the language of the page.
 * @param {unknown} error
 */
export const explained = (error) =>
  explain(error, { ...translations, no_provider: text("openid.missing") });

/**
 * Returns why an operator has removed a picture, in the language of the page; empty if none was removed.
 * @param {Profile} profile
 */
export const removalOf = (profile) => explainRemoval(profile, translations);

/**
 * Returns an English text of the development server (keys `development.`) in the language of the page.
 * @param {string} sentence
 */
export function translated(sentence) {
  const [key] = Object.entries(english).find(([, each]) => each === sentence) ?? [];
  return key ? text(/** @type {Key} */ (key)) : sentence;
}

/**
 * Writes the texts of all elements with `data-text`, a key of messages/; of attributes it is `data-text-` and the
 * attribute. A child with `data-value` replaces the placeholder of that name.
 * @param {ParentNode} root
 */
export function writeTexts(root) {
  for (const element of /** @type {NodeListOf<HTMLElement>} */ (root.querySelectorAll("[data-text]"))) {
    writeText(element, /** @type {Key} */ (element.dataset.text));
  }
  for (const attribute of ATTRIBUTES) {
    for (const element of root.querySelectorAll(`[data-text-${attribute}]`)) {
      const key = /** @type {Key} */ (element.getAttribute(`data-text-${attribute}`));
      element.setAttribute(attribute, text(key));
    }
  }
  for (const template of root.querySelectorAll("template")) {
    writeTexts(template.content);
  }
}

/**
 * @param {Element} element
 * @param {Key} key
 */
function writeText(element, key) {
  const parts = formOf(texts[key], {}, locale).split(/\{(\w+)\}/);
  const children = parts.map((part, position) =>
    position % 2 ? (element.querySelector(`[data-value=${part}]`) ?? "") : part,
  );
  element.replaceChildren(...children);
}

/**
 * Makes a list of languages, each by its own name. A choice is remembered, and loads the page again.
 * @param {HTMLSelectElement} select
 */
export function offerLanguages(select) {
  const { language } = chooseLanguage([locale], languages);
  document.documentElement.lang = locale;
  document.documentElement.dir = directionOf(locale);
  select.replaceChildren(
    ...languages.map((each) => {
      const option = new Option(nameOf(each), each, false, each === language);
      option.lang = each;
      option.dir = directionOf(each);
      return option;
    }),
  );
  select.addEventListener("change", () => {
    localStorage.setItem(STORED, select.value);
    location.reload();
  });
}

/** @param {string} language */
function nameOf(language) {
  const name = new Intl.DisplayNames([language], { type: "language" }).of(language) ?? language;
  const [first, ...others] = name;
  return first.toLocaleUpperCase(language) + others.join("");
}

function storedLanguage() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null; // the browser stores nothing for this page
  }
}
