import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  needsNonce,
  tokenOf,
} from "../../../persona_profile/static/client/persona-email-verification.js";

const ALICE = "alice@example.com";
const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
const token = (claims) => `${part({ typ: "evt+jwt" })}.${part(claims)}.c2ln~e30.e30.c2ln`;
const GOOD = token({ email: ALICE });

describe("a token of the field", () => {
  for (const [name, value, email] of [
    ["as it is", GOOD, ALICE],
    ["in other spelling", GOOD, " Alice@Example.COM "],
    ["of another script", token({ email: "zoë@bücher.example" }), "zoë@xn--bcher-kva.example"],
  ]) {
    test(`counts ${name}`, () => assert.equal(tokenOf(value, email), value));
  }

  for (const [name, value, email] of [
    ["is empty", "", ALICE],
    ["is of another address", GOOD, "bob@example.org"],
    ["is of an address that was changed", GOOD, ""],
    ["has no key binding", GOOD.split("~")[0], ALICE],
    ["ends early", `${GOOD.split("~")[0]}~`, ALICE],
    ["has disclosures", GOOD.replace("~", "~e30~"), ALICE],
    ["names no address", token({}), ALICE],
    ["has no claims", token(null), ALICE],
    ["is no JSON", GOOD.replace(/\.[\w-]+\./, ".bm8."), ALICE],
    ["is no base64url", GOOD.replace(/\.[\w-]+\./, ".a."), ALICE],
    ["has other characters", `${GOOD} `, ALICE],
  ]) {
    test(`counts for nothing if it ${name}`, () => assert.equal(tokenOf(value, email), null));
  }
});

describe("a new nonce", () => {
  const NOW = Date.parse("2026-11-29T12:00:00Z");
  const nonce = { nonce: "n", expires_at: "2026-11-29T12:10:00Z" };
  for (const [name, wanted, held, shown, now] of [
    ["is needed at first", true, null, null, NOW],
    ["is not needed while one lasts", false, nonce, "n", NOW],
    ["is not needed two minutes before the end", false, nonce, "n", NOW + 480_000],
    ["is needed shortly before the end", true, nonce, "n", NOW + 480_001],
    ["is needed if the browser has emptied the attribute", true, nonce, "", NOW],
    ["is needed if the attribute is gone", true, nonce, null, NOW],
    ["is needed if the expiry is no time", true, { ...nonce, expires_at: "soon" }, "n", NOW],
  ]) {
    test(name, () => assert.equal(needsNonce(held, shown, now), wanted));
  }
});
