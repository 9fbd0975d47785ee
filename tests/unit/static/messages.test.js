// Every language has every text: `make format` writes the modules, these tests name what is missing.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { codes, explain, languages } from "../../../persona_profile/static/client/persona-messages.js";
import { CLAIMS } from "../../../persona_profile/static/client/persona-claims.js";
import { OTHERS } from "../../../persona_profile/static/demo/demo-formats.js";

const STATIC = new URL("../../../persona_profile/static/", import.meta.url);
const PARTS = { client: "persona-messages", demo: "demo-messages" };
/** Texts that are the same as in English. */
const SAME = {
  all: ["brand", "field", "file.problem"],
  de: ["field.name"],
};

const CATEGORIES = ["zero", "one", "two", "few", "many", "other"];

const raw = (part, language) =>
  readFileSync(new URL(`${part}/messages/${language}.json`, STATIC), "utf8");
const read = (part, language) => JSON.parse(raw(part, language));
const formsOf = (message) => (typeof message === "string" ? [message] : Object.values(message));
const sorted = (set) => [...set].sort();

/** The placeholders of a message; those of its forms may lack `count`, as "one picture" does. */
const placeholders = (message) =>
  sorted(new Set(formsOf(message).flatMap((form) => form.match(/(?<=\{)\w+(?=\})/g) ?? [])));

for (const [part, prefix] of Object.entries(PARTS)) {
  const files = readdirSync(new URL(`${part}/messages/`, STATIC)).map((name) => name.slice(0, -5));
  const english = read(part, "en");

  test(`${part}/messages has each language of the client`, () => {
    assert.deepEqual(sorted(files), languages);
  });

  for (const language of files) {
    describe(`${part}/messages/${language}.json`, () => {
      const messages = read(part, language);

      test("has every text of en.json, and no other", () => {
        const keys = Object.keys(messages);
        const missing = Object.keys(english).filter((key) => !keys.includes(key));
        const unknown = keys.filter((key) => !Object.hasOwn(english, key));
        assert.deepEqual({ missing, unknown }, { missing: [], unknown: [] });
      });

      test("is sorted, with one line for each text or form", () => {
        const keys = Object.keys(messages);
        assert.deepEqual(keys, sorted(keys), "run `make format`");
        assert.equal(raw(part, language), `${JSON.stringify(messages, null, 2)}\n`);
      });

      test("has the placeholders of en.json in each text", () => {
        const differing = Object.entries(messages).filter(
          ([key, message]) =>
            String(placeholders(message)) !== String(placeholders(english[key] ?? "")),
        );
        assert.deepEqual(differing, []);
      });

      test("has the plural forms of the language where English has a plural, and no other", () => {
        const own = new Intl.PluralRules(language).resolvedOptions().pluralCategories;
        for (const [key, message] of Object.entries(messages)) {
          const isPlural = typeof english[key] !== "string";
          const wanted = isPlural ? CATEGORIES.filter((each) => own.includes(each)) : ["text"];
          const found = typeof message === "string" ? ["text"] : Object.keys(message);
          assert.deepEqual(found, wanted, key);
        }
      });

      test("has no empty text, no spaces around one, and no other brackets than those of a condition", () => {
        for (const form of Object.values(messages).flatMap(formsOf)) {
          assert.match(form, /^\S(?:.*\S)?$/su);
          const rest = form.replace(/\[[^[\]{}|]*\{\w+\}[^[\]{}|]*(?:\|[^[\]{}|]*)?\]|\{\w+\}/g, "");
          assert.doesNotMatch(rest, /[[\]{}|]/, form);
        }
      });

      test("is translated", () => {
        const isSame = (key) => JSON.stringify(messages[key]) === JSON.stringify(english[key]);
        const same = language === "en" ? [] : Object.keys(messages).filter(isSame);
        assert.deepEqual(
          same.filter((key) => !SAME.all.includes(key) && !SAME[language]?.includes(key)),
          [],
        );
      });

      test("is the module that pages load", async () => {
        const module = await import(new URL(`${part}/${prefix}-${language}.js`, STATIC));
        assert.deepEqual(module.default, messages, "run `make format`");
      });
    });
  }
}

describe("texts", () => {
  const clientKeys = Object.keys(read("client", "en"));

  test("of the client: one for each code and claim, and no other", () => {
    const keyed = Object.fromEntries(clientKeys.map((key) => [key, `<${key}>`]));
    const used = codes.map((code) => explain({ code }, keyed).text.slice(1, -1));
    const others = ["unknown_code", "no_code", "megapixels", "field"];
    const fields = [...CLAIMS, "picture", "email", "profile_key"].map((name) => `field.${name}`);
    const descriptions = clientKeys.filter((key) => key.startsWith("description."));
    assert.deepEqual(sorted(new Set([...used, ...others, ...fields, ...descriptions])), clientKeys);
  });

  test("of the demo: each is used by the page, and each that is used is there", () => {
    const folder = new URL("demo/", STATIC);
    const sources = readdirSync(folder)
      .filter((name) => /\.(?:js|html)$/.test(name) && !name.startsWith("demo-messages-"))
      .map((name) => readFileSync(new URL(name, folder), "utf8"));
    const page = sources.join("\n");
    const keys = Object.keys(read("demo", "en"));
    const composed = OTHERS.map((kind) => `file.${kind}`);
    const isUsed = (key) =>
      page.includes(`"${key}"`) || composed.includes(key) || key.startsWith("development.");
    const unused = keys.filter((key) => !isUsed(key));
    const named = Array.from(
      page.matchAll(/data-text(?:-[a-z-]+)?="([\w.]+)"|text(?:Of)?\("([\w.]+)"/g),
    );
    const missing = named
      .map(([, attribute, argument]) => attribute ?? argument)
      .filter((key) => !keys.includes(key) && !clientKeys.includes(key));
    assert.deepEqual({ unused, missing }, { unused: [], missing: [] });
  });

  test("are not written in the markup: only without JavaScript there is one", () => {
    const page = readFileSync(new URL("demo/index.html", STATIC), "utf8");
    const body = page
      .slice(page.indexOf("<body>"))
      .replace(/<!--.*?-->|<noscript>.*?<\/noscript>|<code data-value="\w+"[^>]*>[^<]*<\/code>/gs, "");
    const written = Array.from(body.matchAll(/>([^<]*[^<\s][^<]*)</g), ([, text]) => text.trim());
    const attributes = body.match(/ (?:aria-label|aria-roledescription|alt|title)="[^"]+"/g) ?? [];
    assert.deepEqual(
      [...written, ...attributes],
      [],
      "add it to messages/en.json, and name it by data-text",
    );
  });
});

describe("explanation", () => {
  for (const [error, text] of [
    [{ code: "overloaded", retryAfter: 1 }, "The server is busy just now. Try again in a moment."],
    [{ code: "overloaded", retryAfter: 89.5 }, "The server is busy just now. Try again in 2 minutes."],
    [
      { code: "body_too_large", limit: 5000 },
      "This picture is larger than 4 kB. Choose a smaller one.",
    ],
    [{ code: "{wait}[" }, "That did not work ({wait}[). Tell the operators of this website."],
  ]) {
    test(JSON.stringify(error), () => assert.equal(explain(error).text, text));
  }

  test("uses the units of a language", () => {
    const german = { language: "de", overloaded: "Überlastet. Warten Sie [{wait}|etwas]." };
    const { text, action } = explain({ code: "overloaded", retryAfter: 5 }, german);
    assert.deepEqual([text, action], ["Überlastet. Warten Sie 5 Sekunden.", "wait"]);
    assert.equal(explain({ code: "overloaded" }, german).text, "Überlastet. Warten Sie etwas.");
  });

  test("calls a function of a translation", () => {
    assert.equal(
      explain({ code: "offline" }, { offline: ({ code }) => `«${code}»` }).text,
      "«offline»",
    );
  });

  test("keeps English for what a translation lacks", () => {
    assert.equal(explain({ code: "aborted" }, { aborted: undefined }).text, "Cancelled.");
  });

  test("names fields in the language of the translation", () => {
    const errors = [{ name: "name", description: "ist zu lang." }];
    const { text } = explain({ code: "validation_failed", errors }, { "field.name": "Voller Name" });
    assert.equal(text, "Voller Name: ist zu lang.");
  });
});
