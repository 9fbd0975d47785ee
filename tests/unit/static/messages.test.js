import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import { codes, explain } from "../../../persona_profile/static/client/persona-messages.js";

const CLIENT = new URL("../../../persona_profile/static/client/", import.meta.url);
const FILES = readdirSync(new URL("messages/", CLIENT));
const read = (name) => JSON.parse(readFileSync(new URL(`messages/${name}`, CLIENT), "utf8"));
const KEYS = Object.keys(read("en.json"));
const PLACEHOLDERS = "code fields limit_bytes limit_megapixels megapixels request_id wait".split(" ");

for (const name of FILES) {
  describe(`messages/${name}`, () => {
    const messages = read(name);

    test("has the same keys as each language, in order", () => {
      assert.deepEqual(Object.keys(messages), KEYS);
      assert.equal(messages.language, name.replace(".json", ""));
    });

    test("has a sentence for each code, and no other", () => {
      const others = ["language", "unknown_code", "no_code"];
      const known = KEYS.filter((key) => !key.startsWith("field.") && !others.includes(key));
      assert.deepEqual(known.sort(), [...codes].sort());
    });

    test("uses known placeholders", () => {
      const used = Object.values(messages).flatMap((text) => text.match(/(?<=\{)\w+(?=\})/g) ?? []);
      assert.deepEqual(
        used.filter((each) => !PLACEHOLDERS.includes(each)),
        [],
      );
    });

    test("leaves no placeholder in a sentence", () => {
      for (const code of codes) {
        const members = { code, limit: 5e7, details: { pixels: 6e7 }, retryAfter: 5, requestId: "r" };
        for (const error of [{ code }, members]) {
          assert.doesNotMatch(explain(error, messages).text, /[[\]{}|]|undefined|null/);
        }
      }
    });

    test("is the module that pages load", async () => {
      const module = await import(new URL(`persona-messages-${messages.language}.js`, CLIENT));
      assert.deepEqual(module.default, messages, "run `make format`");
    });
  });
}

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
