import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Square } from "../../../persona_profile/static/demo/demo-square.js";

describe("square of a crop", () => {
  test("starts as the largest in the centre", () => {
    const square = new Square(1000, 600);
    assert.deepEqual(square.crop, { left: 200, top: 0, side: 600 });
    assert.equal(square.zoom, 1);
  });

  test("stays inside", () => {
    const square = new Square(1000, 600);
    square.move(10, 10);
    assert.deepEqual(square.crop, { left: 400, top: 0, side: 600 });
    square.move(-10, -10);
    assert.deepEqual(square.crop, { left: 0, top: 0, side: 600 });
  });

  test("zooms around a point", () => {
    const square = new Square(1000, 600);
    square.zoomTo(2, 0, 1);
    assert.deepEqual(square.crop, { left: 200, top: 300, side: 300 });
  });

  test("zooms between its limits", () => {
    const square = new Square(1000, 600);
    square.zoomTo(1000);
    assert.equal(square.crop.side, 128);
    assert.equal(square.zoom, square.maxZoom);
    square.zoomTo(0.1);
    assert.equal(square.crop.side, 600);
  });

  test("of a small picture can't be zoomed", () => {
    const square = new Square(100, 90);
    assert.equal(square.maxZoom, 1);
    assert.deepEqual(square.crop, { left: 5, top: 0, side: 90 });
  });

  test("has whole pixels inside of the picture", () => {
    const square = new Square(333, 333);
    for (let step = 0; step < 50; step += 1) {
      square.zoomTo(1 + step * 0.037, 0.3, 0.9);
      square.move(0.41, 0.37);
      const { left, top, side } = square.crop;
      assert.ok([left, top, side].every(Number.isInteger));
      assert.ok(left >= 0 && top >= 0 && left + side <= 333 && top + side <= 333);
    }
  });

  test("starts again", () => {
    const square = new Square(1000, 600);
    square.zoomTo(3);
    square.reset();
    assert.deepEqual(square.crop, new Square(1000, 600).crop);
  });
});
