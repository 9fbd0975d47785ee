import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  ProfileError,
  exchange,
  pauseAfter,
  profileOf,
  secondsOf,
  sessionOf,
} from "../../../persona_profile/static/client/persona-profile-transport.js";

const BUSY = { code: "overloaded", status: 503, retryAfter: 0 };
const LOST = { code: "no_answer", status: null, retryAfter: null };
const OFFLINE = { ...LOST, code: "offline" };
const PROFILE = { email: "alice@example.com", etag: '"1.0"' };
const SESSION = { token: "t", expires_at: "2999-01-01T00:00:00.000Z", emails: ["alice@example.com"] };

describe("seconds of Retry-After", () => {
  for (const [header, wanted] of [
    ["5", 5],
    ["0", 0],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
    ["soon", null],
    ["", null],
    [null, null],
  ]) {
    test(JSON.stringify(header), () => assert.equal(secondsOf(header), wanted));
  }

  test("of a date in the future", () => {
    const seconds = secondsOf(new Date(Date.now() + 60_000).toUTCString());
    assert.ok(58 < seconds && seconds <= 60);
  });
});

describe("pause before a retry", () => {
  for (const [name, error, attempt, isRepeatable, left, min, max] of [
    ["of a busy server", BUSY, 0, false, 8000, 250, 563],
    ["grows with each attempt", BUSY, 3, false, 80_000, 2000, 2750],
    ["is not before Retry-After", { ...BUSY, retryAfter: 2 }, 0, false, 8000, 2000, 2750],
    ["of too many requests", { ...BUSY, status: 429 }, 0, false, 8000, 250, 563],
    ["ends in time", { ...BUSY, retryAfter: 7 }, 0, false, 8000, 7000, 7500],
    ["of a lost answer", LOST, 0, true, 8000, 250, 563],
    ["of a lost answer of a browser that seems offline", OFFLINE, 0, true, 8000, 250, 563],
  ]) {
    test(name, () => {
      for (let round = 0; round < 100; round += 1) {
        const pause = pauseAfter(error, attempt, isRepeatable, left);
        assert.ok(min <= pause && pause <= max, String(pause));
      }
    });
  }

  for (const [name, error, isRepeatable, left] of [
    ["of a busy server without Retry-After", { ...BUSY, retryAfter: null }, true, 8000],
    ["of another error", { code: "not_found", status: 404, retryAfter: 0 }, true, 8000],
    ["of a lost answer to a request that is not repeatable", LOST, false, 8000],
    ["without time left", { ...BUSY, retryAfter: 9 }, true, 8000],
  ]) {
    test(`none ${name}`, () => assert.equal(pauseAfter(error, 0, isRepeatable, left), null));
  }
});

describe("request", () => {
  const call = { check() {}, wait: () => Promise.resolve(), millisecondsLeft: 8000 };
  const online = Object.getOwnPropertyDescriptor(globalThis, "navigator");

  before(() => {
    Object.defineProperty(globalThis, "navigator", { value: { onLine: false }, configurable: true });
  });
  after(() => {
    delete globalThis.navigator; // older versions of Node.js have none
    Object.defineProperties(globalThis, online ? { navigator: online } : {});
  });

  test("of a browser that seems offline is sent", async () => {
    const answer = { status: 200 };
    assert.equal(await exchange(call, "/", {}, true, async () => answer), answer);
  });

  for (const [isRepeatable, wanted] of [
    [true, 2],
    [false, 1],
  ]) {
    test(`without an answer is sent ${wanted} time(s)`, async () => {
      let sent = 0;
      const send = async () => {
        sent += 1;
        throw new ProfileError("offline", "No answer.");
      };
      await assert.rejects(exchange(call, "/", {}, isRepeatable, send), { code: "offline" });
      assert.equal(sent, wanted);
    });
  }
});

describe("error", () => {
  for (const [code, status, isTemporary] of [
    ["offline", undefined, true],
    ["issuer_unreachable", 401, true],
    ["overloaded", 503, true],
    ["conflict", 409, true],
    ["not_found", 404, false],
    ["aborted", undefined, false],
  ]) {
    test(`${code} is ${isTemporary ? "" : "not "}temporary`, () => {
      assert.equal(new ProfileError(code, "", { status }).isTemporary, isTemporary);
    });
  }

  test("has a value for each member", () => {
    const error = new ProfileError("timeout", "Too late.", { errors: "none" });
    assert.equal(error.message, "Too late.");
    assert.deepEqual({ ...error }, { ...error, status: null, errors: [], details: {}, current: null });
  });
});

describe("answer", () => {
  test("of a blank profile has all claims", () => {
    const profile = profileOf(PROFILE);
    assert.deepEqual([profile.name, profile.picture_alt, profile.picture], [null, null, null]);
    assert.deepEqual([profile.version, profile.protected], [0, false]);
  });

  for (const members of [
    { email: 5 },
    { etag: null },
    { name: 5 },
    { picture: {} },
    { picture: { id: "p", urls: { 64: 5 } } },
  ]) {
    test(`with ${JSON.stringify(members)} is no profile`, () => {
      assert.throws(() => profileOf({ ...PROFILE, ...members }), TypeError);
    });
  }

  test("of a session has nothing else", () => {
    assert.deepEqual(sessionOf({ ...SESSION, more: 1 }), SESSION);
  });

  for (const members of [
    { token: "a b" },
    { token: 5 },
    { token: ["t"] },
    { expires_at: "later" },
    { emails: [5] },
  ]) {
    test(`with ${JSON.stringify(members)} is no session`, () => {
      assert.throws(() => sessionOf({ ...SESSION, ...members }), TypeError);
    });
  }
});
