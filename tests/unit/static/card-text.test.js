import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  aboutTexts,
  canonicalEmail,
  displayName,
  emailParts,
  monogram,
  visibleText,
} from "../../../persona_profile/static/client/persona-card-text.js";

const ALICE = "alice@example.com";

describe("visible text", () => {
  for (const [text, wanted] of [
    ["Alice", "Alice"],
    ["  Alice \n Liddell\t", "Alice Liddell"],
    ["Al\u0000ice\u0007", "Alice"],
    ["\u202Eecila", "ecila"],
    ["a\u200Bb\u2066c", "abc"],
    ["a\uD800b", "ab"],
    ["\u{1F468}\u200D\u{1F469}", "\u{1F468}\u200D\u{1F469}"],
    ["\u{1F3F4}\u{E0067}\u{E0062}\u{E007F}", "\u{1F3F4}"],
    ["\u{1CCF0}\u{378}", "\u{1CCF0}\u{378}"],
    ["\u{378}", "\u{378}"],
    ["\u2800", ""],
    ["\u{E0067}x", "x"],
    ["\u200B\u3164", ""],
    ["\u0301", ""],
    ["", ""],
    [5, ""],
    [null, ""],
    [undefined, ""],
  ]) {
    test(JSON.stringify(text) ?? "undefined", () => assert.equal(visibleText(text), wanted));
  }

  test("is cut at 200 whole characters", () => {
    assert.equal(visibleText("\u{1F600}".repeat(5000)), "\u{1F600}".repeat(200));
  });
});

describe("parts of an email", () => {
  for (const [email, local, at, domain] of [
    [ALICE, "alice", "@", "example.com"],
    ['"a@b"@example.com', '"a@b"', "@", "example.com"],
    ["example.com", "", "", "example.com"],
    ["@example.com", "", "@", "example.com"],
    ["\u202Ealice@example.com", "alice", "@", "example.com"],
    [`${"a".repeat(300)}@example.com`, "a".repeat(300), "@", "example.com"],
  ]) {
    test(email.slice(0, 30), () => assert.deepEqual(emailParts(email), { local, at, domain }));
  }
});

describe("canonical email", () => {
  for (const [email, wanted] of [
    ["Alice@Example.COM", ALICE],
    ["zoe\u0301@example.com", "zo\u00E9@example.com"],
    ["zoe@B\u00FCcher.example", "zoe@xn--bcher-kva.example"],
    ["zoe@xn--bcher-kva.example", "zoe@xn--bcher-kva.example"],
    ["zoe@b\u00FCcher.example/path", "zoe@b\u00FCcher.example/path"],
    ["zoe@b\u00FCcher@evil:80", "zoe@b\u00FCcher@evil:80"],
    ["no domain", "no domain"],
  ]) {
    test(email, () => assert.equal(canonicalEmail(email), wanted));
  }
});

describe("display name", () => {
  for (const [profile, wanted] of [
    [null, "alice"],
    [{ name: "Alice Liddell", nickname: "Al" }, "Alice Liddell"],
    [{ name: "\u200B", given_name: "Alice", family_name: "Liddell" }, "Alice Liddell"],
    [{ family_name: "Liddell" }, "Liddell"],
    [{ nickname: "Al" }, "Al"],
    [{ name: 5 }, "alice"],
  ]) {
    test(JSON.stringify(profile), () => assert.equal(displayName(ALICE, profile), wanted));
  }

  test("of an email without a visible local part is the domain", () => {
    assert.equal(displayName("\u3164@example.com", null), "@example.com");
  });
});

describe("other texts of a card", () => {
  for (const [profile, wanted] of [
    [null, []],
    [{ nickname: "Al", pronouns: "she/her" }, ["Al", "she/her"]],
    [{ nickname: "Alice" }, []],
    [{ website: "https://www.example.com/alice" }, ["example.com"]],
    [{ website: "http://example.com/" }, []],
    [{ website: "javascript:alert(1)" }, []],
    [{ website: "nonsense" }, []],
  ]) {
    test(JSON.stringify(profile), () => assert.deepEqual(aboutTexts(profile, "Alice"), wanted));
  }
});

describe("monogram", () => {
  for (const [email, name, wanted] of [
    [ALICE, null, "A"],
    ["alice.liddell+shop@example.com", null, "AL"],
    [ALICE, "Ada Maria King Lovelace", "AL"],
    [ALICE, "\u5C71\u7530 \u592A\u90CE", "\u5C71"],
    [ALICE, "\u00DFeta", "\u00DF"],
    [ALICE, "--- !!!", "A"],
    ["---@example.com", null, "E"],
    ["", null, "?"],
  ]) {
    test(`${email} ${name}`, () => assert.equal(monogram(email, name).text, wanted));
  }

  test("has the same hue for every spelling of an email", () => {
    const hues = ["zo\u00E9@B\u00FCcher.example", "zoe\u0301@xn--bcher-kva.example"];
    assert.equal(new Set(hues.map((email) => monogram(email).hue)).size, 1);
  });

  test("keeps its hue in each version of this package", () => {
    assert.deepEqual(
      [ALICE, "bob@example.org", ""].map((email) => monogram(email).hue),
      [112, 248, 240],
    );
  });
});
