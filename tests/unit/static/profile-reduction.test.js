import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { wholePixels } from "../../../persona_profile/static/client/persona-profile-pictures.js";
import {
  readHeader,
  squareOf,
} from "../../../persona_profile/static/client/persona-profile-reduction.js";

const LANDSCAPE = { width: 301, height: 200 };

describe("square", () => {
  for (const [crop, wanted] of [
    [null, { left: 50, top: 0, side: 200 }],
    [
      { left: 0, top: 0, side: 200 },
      { left: 0, top: 0, side: 200 },
    ],
    [
      { left: 101, top: 0, side: 200 },
      { left: 101, top: 0, side: 200 },
    ],
    [{ left: 102, top: 0, side: 200 }, null],
    [{ left: 0, top: 1, side: 200 }, null],
    [{ left: -1, top: 0, side: 10 }, null],
    [{ left: 0, top: 0, side: 0 }, null],
  ]) {
    test(JSON.stringify(crop), () => assert.deepEqual(squareOf(LANDSCAPE, crop), wanted));
  }

  test("in whole pixels stays inside", () => {
    const crop = wholePixels({ left: 0.4, top: 7, side: 99.7 });
    assert.deepEqual(crop, { left: 0, top: 7, side: 99 });
  });
});

describe("header", () => {
  const header = (...bytes) =>
    readHeader(new DataView(Uint8Array.from({ ...bytes, length: 64 }).buffer));
  const start = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2];

  test("of PNG", () => {
    const png = [
      0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 1, 0, 0, 0, 0, 9,
    ];
    assert.deepEqual(header(...png), { isJpeg: false, pixels: 256 * 9 });
  });

  for (const [components, isUnsafe] of [
    [3, false],
    [4, true],
  ]) {
    test(`of JPEG with ${components} components`, () => {
      const frame = [0xff, 0xc0, 0, 17, 8, 0, 16, 1, 0, components];
      assert.deepEqual(header(...start, ...frame), { isJpeg: true, pixels: 16 * 256, isUnsafe });
    });
  }

  test("of JPEG without a frame", () => {
    assert.deepEqual(header(...start), { isJpeg: true, pixels: 0 });
  });

  test("of another format", () => assert.deepEqual(header(), { isJpeg: false, pixels: 0 }));
});
