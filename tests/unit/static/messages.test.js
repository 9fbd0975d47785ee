// Every language has every text: `make format` writes the modules, these tests name what is missing.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import {
  codes,
  explain,
  explainRemoval,
  languages,
  loadTranslations,
} from "../../../persona_profile/static/client/persona-messages.js";
import { CLAIMS } from "../../../persona_profile/static/client/persona-claims.js";
import { OTHERS } from "../../../persona_profile/static/demo/demo-formats.js";

const STATIC = new URL("../../../persona_profile/static/", import.meta.url);
const PARTS = { client: "persona-messages", demo: "demo-messages" };
/** Texts that are the same as in English. */
const SAME = {
  all: ["brand", "field", "file.problem", "page.title"],
  de: ["field.name", "field.website", "crop.zoom"],
  es: ["crop.zoom"],
  fr: ["crop.zoom"],
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

describe("size", () => {
  const size = (name) =>
    gzipSync(readFileSync(new URL(`client/${name}.js`, STATIC)), { level: 9 }).length;

  test("of the messages with English is less than 8.7 kB compressed", () => {
    const names = [
      "persona-messages",
      "persona-translation",
      "persona-languages",
      "persona-messages-en",
    ];
    assert.ok(names.map(size).reduce((sum, each) => sum + each) < 8_700);
  });

  test("of each language is less than 5 kB compressed", () => {
    assert.deepEqual(
      languages.filter((language) => size(`persona-messages-${language}`) >= 5_000),
      [],
    );
  });
});

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
      page.matchAll(/data-text(?:-[a-z-]+)?="([\w.]+)"|\btext(?:Of)?\("([\w.]+)"/g),
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
    [{ code: "{wait}[" }, "That did not work ({wait}[). Report it to the operators of this website."],
  ]) {
    test(JSON.stringify(error), () => assert.equal(explain(error).text, text));
  }

  for (const [lang, day, words] of [
    ["ar", /2026|٢٠٢٦/, /السبب: \u2068Not me\u2069/],
    ["de", /30\. Dezember 2026/, /Der Grund: Not me/],
    ["en", /December 30, 2026/, /Their reason: Not me/],
    ["es", /30 de diciembre de 2026/, /El motivo: Not me/],
    ["fr", /30 décembre 2026/, /La raison : Not me/],
    ["ja", /2026年12月30日/, /理由：Not me/],
  ]) {
    test(`has the end and the reason of a lock: ${lang}`, async () => {
      const sentences = await loadTranslations({ lang });
      const removal = { locked_until: "2026-12-30T12:00:00.000Z", reason: "Not me" };
      const locked = explainRemoval({ picture_removal: removal }, sentences);
      assert.match(locked, day);
      assert.match(locked, words);
      const error = { code: "picture_locked", details: removal };
      assert.deepEqual(explain(error, sentences), { text: locked, action: "none", fields: [] });
      const removed = { ...removal, locked_until: null };
      assert.match(explainRemoval({ picture_removal: removed }, sentences), words);
    });
  }

  test("of a removal without a reason, of a wrong time, and of none", () => {
    assert.equal(
      explainRemoval({ picture_removal: { locked_until: "never", reason: null } }),
      "The operators have removed the picture of this address, and accept no other one for now.",
    );
    for (const picture_removal of [null, undefined]) {
      assert.equal(explainRemoval({ picture_removal }), "");
    }
  });

  test("uses the units of a language", () => {
    const german = { language: "de", overloaded: "Überlastet. Warten Sie [{wait}|etwas]." };
    const { text, action } = explain({ code: "overloaded", retryAfter: 5 }, german);
    assert.deepEqual([text, action], ["Überlastet. Warten Sie 5 Sekunden.", "wait"]);
    assert.equal(explain({ code: "overloaded" }, german).text, "Überlastet. Warten Sie etwas.");
  });

  test("translates the reasons against fields", async () => {
    const errors = [
      { name: "name", description: "must have at most 100 characters" },
      { name: "label", description: "must not contain the character U+202E at position 2." },
      { name: "website", description: "must be in verse" },
    ];
    const texts = async (lang) => {
      const { fields } = explain(
        { code: "validation_failed", errors },
        await loadTranslations({ lang }),
      );
      return fields.map(({ text }) => text.replace(/[\u2068\u2069]/g, ""));
    };
    assert.deepEqual(await texts("de"), [
      "Name: darf höchstens 100 Zeichen haben.",
      "Etikett: darf das Zeichen U+202E an Stelle 2 nicht enthalten.",
      "Website: must be in verse.",
    ]);
    assert.equal((await texts("ar"))[0], "الاسم: يجب ألا يزيد على 100 حرف.");
    assert.equal((await texts("ja"))[0], "名前：100文字以内で入力してください。");
    assert.equal((await texts("en"))[0], "Name: must have at most 100 characters.");
  });

  for (const [lang, megapixels, units] of [
    ["ar", ["ميغابكسل واحد", "ميغابكسلان", "3 ميغابكسل"], /5 ثوان/],
    ["de", ["1 Megapixel", "2 Megapixel", "3 Megapixel"], /in 5 Sekunden/],
    ["en", ["1 megapixel", "2 megapixels", "3 megapixels"], /in 5 seconds/],
    ["es", ["1 megapíxel", "2 megapíxeles", "3 megapíxeles"], /en 5 segundos/],
    ["fr", ["1 mégapixel", "2 mégapixels", "3 mégapixels"], /dans 5\ssecondes/],
    ["ja", ["1 メガピクセル", "2 メガピクセル", "3 メガピクセル"], /5 秒後/],
  ]) {
    test(`has the plurals and units of a language: ${lang}`, async () => {
      const sentences = await loadTranslations({ lang });
      const plain = (error) => explain(error, sentences).text.replace(/[\u2068\u2069]/g, "");
      for (const [at, words] of megapixels.entries()) {
        const error = { code: "picture_too_many_pixels", limit: (at + 1) * 1e6 };
        assert.ok(plain(error).includes(words), plain(error));
      }
      assert.match(plain({ code: "overloaded", retryAfter: 5 }), units);
    });
  }

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

describe("choice of a language", () => {
  for (const [lang, language, direction] of [
    ["de-AT", "de-AT", "ltr"],
    ["AR_eg", "en", "ltr"],
    ["ar-eg", "ar-EG", "rtl"],
    [["sv", "pt-BR", "ja-JP", "de"], "ja-JP", "ltr"],
    [["tlh", "*", "", "x"], "en", "ltr"],
    [[], "en", "ltr"],
    ["__proto__", "en", "ltr"],
    ["en-GB", "en-GB", "ltr"],
  ]) {
    test(`${lang}: ${language}`, async () => {
      const sentences = await loadTranslations({ lang });
      assert.deepEqual([sentences.language, sentences.direction], [language, direction]);
      const file = read("client", language.split("-")[0]);
      assert.equal(sentences.offline, file.offline);
    });
  }

  test("writes numbers as the region does", async () => {
    const limitOf = async (lang) =>
      explain({ code: "body_too_large", limit: 4e9 }, await loadTranslations({ lang })).text;
    assert.match(await limitOf("de"), /3\.814\sMB/);
    assert.match(await limitOf("de-CH"), /3['’]814\sMB/);
  });
});

describe("directions in a sentence", () => {
  const unknown = (code, sentences) => explain({ code }, sentences).text;

  test("names and codes are isolated in a language from right to left", async () => {
    assert.match(unknown("a-1", await loadTranslations({ lang: "ar" })), /\u2068a-1\u2069/);
  });

  test("so are letters from right to left, and controls, in the other languages", () => {
    assert.match(unknown("اسم"), /\u2068اسم\u2069/);
    assert.match(unknown("a\u202eb"), /\u2068a\u202eb\u2069/);
    assert.doesNotMatch(unknown("a-1"), /\u2068/);
  });
});
