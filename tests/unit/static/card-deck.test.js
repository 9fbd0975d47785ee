import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { pauseAfter } from "../../../persona_profile/static/client/persona-card-deck.js";

describe("pause of a deck", () => {
  for (const [failures, retryAfterMs, min, max] of [
    [0, 0, 250, 500],
    [3, 0, 2000, 4000],
    [50, 0, 15_000, 30_000],
    [0, 60_000, 60_250, 60_500],
  ]) {
    test(`after ${failures} failures, not before ${retryAfterMs} ms`, () => {
      for (let round = 0; round < 100; round += 1) {
        const pause = pauseAfter(failures, retryAfterMs);
        assert.ok(min <= pause && pause <= max, String(pause));
      }
    });
  }
});
