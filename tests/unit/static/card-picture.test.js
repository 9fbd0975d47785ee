import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { thumbnailOf } from "../../../persona_profile/static/client/persona-card-picture.js";

describe("thumbnail", () => {
  for (const [picture, wanted] of [
    [{ thumbnail: "data:image/webp;base64,AA==" }, "data:image/webp;base64,AA=="],
    [{ thumbnail: "data:image/svg+xml;base64,AA==" }, null],
    [{ thumbnail: "data:image/png,<svg>" }, null],
    [{ thumbnail: "https://example.com/a.png" }, null],
    [{ thumbnail: 5 }, null],
    [{}, null],
    [null, null],
  ]) {
    test(JSON.stringify(picture), () => assert.equal(thumbnailOf(picture), wanted));
  }
});
