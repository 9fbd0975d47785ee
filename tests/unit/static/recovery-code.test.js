import assert from "node:assert/strict";
import { hkdfSync } from "node:crypto";
import { describe, test } from "node:test";
import {
  newRecoveryCode,
  useRecoveryCode,
} from "../../../persona_profile/static/client/persona-recovery-code.js";

const DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/** A code of 32 given bytes and its key, made by another program from docs/reference/key-formats.md. */
const GOOD = "EGEX-4P4Q-KDVH-203H-W0NG-BPTA-3RG9-YE6D-DNBQ-Y8PP-QPVH-RCBK-DB7G-XM33";
const KEY = "lP268d5iz4ap436UiXk1UTAKgnMkZmUhB8oU1-NzYzI";
const rejected = (code) =>
  assert.rejects(useRecoveryCode(code), ({ code: reason }) => reason === "recovery_code_invalid");

describe("a recovery code", () => {
  test("has 14 groups of four digits and letters", async () => {
    const { code } = await newRecoveryCode();
    assert.match(code, /^([0-9A-HJKMNP-TV-Z]{4}-){13}[0-9A-HJKMNP-TV-Z]{4}$/);
  });

  test("is new each time", async () => {
    const { code, profileKey } = await newRecoveryCode();
    assert.equal(await useRecoveryCode(code), profileKey);
    const codes = await Promise.all(Array.from({ length: 50 }, newRecoveryCode));
    assert.equal(new Set(codes.flatMap(Object.values)).size, 100);
  });

  test("gives the key of the documented derivation", async () => {
    const bits = Array.from(GOOD.replaceAll("-", "").slice(0, 52), (each) =>
      DIGITS.indexOf(each).toString(2).padStart(5, "0"),
    ).join("");
    const secret = Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
    const key = hkdfSync("sha256", secret, "", "persona-profile recovery code v1", 32);
    assert.equal(KEY, Buffer.from(key).toString("base64url"));
    assert.equal(await useRecoveryCode(GOOD), KEY);
  });

  for (const [name, change] of [
    ["in small letters", (code) => code.toLowerCase()],
    ["without dashes", (code) => code.replaceAll("-", "")],
    ["with spaces and lines", (code) => `  ${code.replaceAll("-", " ").replace(" ", "\n")}\t`],
    ["with other dashes", (code) => code.replaceAll("-", " \u2013\u2212\u2010")],
    ["with dots and commas", (code) => code.replaceAll("-", ".,")],
    ["with invisible characters", (code) => `\ufeff${code.replaceAll("-", "\u200b")}`],
    [
      "in wide letters",
      (code) => code.replace(/[!-~]/g, (each) => String.fromCharCode(each.charCodeAt(0) + 0xfee0)),
    ],
    ["with O for 0", (code) => code.replaceAll("0", "O")],
    ["with l for 1", (code) => code.replaceAll("1", "l")],
    ["with I for 1", (code) => code.replaceAll("1", "I")],
  ]) {
    test(`can be typed ${name}`, async () => assert.equal(await useRecoveryCode(change(GOOD)), KEY));
  }

  test("is rejected with any digit changed", async () => {
    const typed = GOOD.replaceAll("-", "");
    for (let at = 0; at < typed.length; at += 1) {
      const other = DIGITS[(DIGITS.indexOf(typed[at]) + 1 + (at % 31)) % 32];
      await rejected(typed.slice(0, at) + other + typed.slice(at + 1));
    }
  });

  test("is rejected with any two neighbours exchanged", async () => {
    const typed = GOOD.replaceAll("-", "");
    for (let at = 0; at + 1 < typed.length; at += 1) {
      if (typed[at] !== typed[at + 1]) {
        await rejected(typed.slice(0, at) + typed[at + 1] + typed[at] + typed.slice(at + 2));
      }
    }
  });

  for (const [name, code] of [
    ["nothing", ""],
    ["a part", GOOD.slice(0, -5)],
    ["all but one", GOOD.slice(1)],
    ["one too many", `${GOOD}0`],
    ["two codes", GOOD + GOOD],
    ["the letter U", GOOD.replace(/^./, "U")],
    ["other letters", "я".repeat(56)],
    ["a whole book", "0".repeat(100_000)],
  ]) {
    test(`is rejected if it is ${name}`, () => rejected(code));
  }

  test("says how many digits it has, and should have", () =>
    assert.rejects(useRecoveryCode(GOOD.slice(0, 9)), ({ details }) => {
      assert.deepEqual(details, { digits: 8, of: 56 });
      return true;
    }));
});
