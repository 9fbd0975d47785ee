import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  cropQuery,
  wholePixels,
} from "../../../persona_profile/static/client/persona-profile-pictures.js";
import {
  isGraphicOf,
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
    const shown = wholePixels({ left: 0.4, top: 7, side: 99.7, of: { width: 150.2, height: 106.9 } });
    assert.deepEqual(shown, { left: 0, top: 7, side: 99, of: { width: 150, height: 107 } });
  });

  test("in a query", () => {
    assert.equal(cropQuery({ left: 0.4, top: 7, side: 99.7 }), "?crop=0,7,99");
    const of = { width: 150, height: 107 };
    assert.equal(cropQuery({ left: 0, top: 7, side: 99, of }), "?crop=0,7,99&of=150x107");
  });
});

describe("square of a picture that was seen in another size", () => {
  const NARROW = { width: 4001, height: 37 };
  for (const [size, of, [left, top, side], wanted] of [
    [{ width: 600, height: 400 }, [300, 200], [10, 20, 100], [20, 40, 200]],
    [{ width: 600, height: 400 }, [1200, 800], [20, 40, 200], [10, 20, 100]],
    [{ width: 4032, height: 3024 }, [1024, 768], [256, 0, 768], [1008, 0, 3024]],
    [NARROW, [1024, 9], [1015, 0, 9], [3964, 0, 37]],
    [NARROW, [1024, 10], [0, 0, 10], [1, 0, 37]],
    [NARROW, [1024, 8], [0, 0, 8], null],
    [NARROW, [1024, 11], [0, 0, 8], null],
    [{ width: 600, height: 400 }, [400, 600], [0, 0, 100], null], // not turned
    [{ width: 600, height: 400 }, [300, 400], [0, 0, 100], null], // stretched by its density
    [{ width: 600, height: 400 }, [300, 200], [201, 0, 100], null], // outside
  ]) {
    test(JSON.stringify([size, of, left, top, side]), () => {
      const crop = { left, top, side, of: { width: of[0], height: of[1] } };
      const square = squareOf(size, crop);
      assert.deepEqual(square && [square.left, square.top, square.side], wanted);
    });
  }
});

describe("header", () => {
  const header = (...bytes) =>
    readHeader(new DataView(Uint8Array.from({ ...bytes, length: 64 }).buffer));
  const start = [0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2];

  test("of PNG", () => {
    const png = [
      0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10, 0, 0, 0, 13, 73, 72, 68, 82, 0, 0, 1, 0, 0, 0, 0, 9,
    ];
    assert.deepEqual(header(...png), { isJpeg: false, pixels: 256 * 9, isUnsafe: false });
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

describe("graphic", () => {
  const SIDE = 256;
  let state = 1;
  const noise = () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return state >>> 24;
  };
  const grey = (level) => [level, level, level];
  const scene = (x, y) => [x, y, (x + y) >> 1];

  for (const [name, paint, wanted] of [
    // Few colours and sharp edges; few colours and flat; flat and sharp.
    ["pixel art", () => [noise() & 0xc0, noise() & 0xc0, noise() & 0xc0], true],
    ["a soft shadow", (x) => grey(Math.max(0, x - 200)), true],
    ["text beside a photo", (x, y) => (x < 40 ? scene(x, y) : grey(x & 4 ? 255 : 0)), true],
    // Sharp alone; few colours alone; flat alone; none.
    ["noise", () => [noise(), noise(), noise()], false],
    ["a grey photo", (x, y) => grey((x + y) >> 1), false],
    ["a photo on white", (x, y) => (x < 90 ? scene(x, y) : grey(255)), false],
    ["a photo", scene, false],
  ]) {
    test(`is ${name}: ${wanted}`, () => {
      const data = new Uint8ClampedArray(SIDE * SIDE * 4);
      for (let at = 0; at < SIDE * SIDE; at += 1) {
        data.set([...paint(at % SIDE, Math.floor(at / SIDE)), 255], at * 4);
      }
      assert.equal(isGraphicOf(data), wanted);
    });
  }
});
