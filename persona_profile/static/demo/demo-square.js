// A square of a picture, which a person moves and zooms.

/** @import { Crop } from "./persona-profile.js" */

/** Side in pixels of the smallest square; fewer make no good portrait. */
const MIN_SIDE = 128;

/** @type {(value: number, min: number, max: number) => number} */
const clamp = (value, min, max) => Math.min(Math.max(value, min), Math.max(min, max));

/**
 * A square in pixels of the upright picture. It always lies inside of the picture; at `zoom` 1 it is as large as
 * the picture allows.
 */
export class Square {
  left = 0;
  top = 0;
  side = 0;

  /**
   * @param {number} width of the picture
   * @param {number} height
   */
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.maxSide = Math.min(width, height);
    this.minSide = Math.min(this.maxSide, MIN_SIDE);
    this.reset();
  }

  reset() {
    this.side = this.maxSide;
    this.left = (this.width - this.side) / 2;
    this.top = (this.height - this.side) / 2;
  }

  get zoom() {
    return this.maxSide / this.side;
  }

  get maxZoom() {
    return this.maxSide / this.minSide;
  }

  /**
   * Moves by parts of the square's side.
   * @param {number} across
   * @param {number} down
   */
  move(across, down) {
    this.left = clamp(this.left + across * this.side, 0, this.width - this.side);
    this.top = clamp(this.top + down * this.side, 0, this.height - this.side);
  }

  /**
   * Zooms around a point of the square, in parts of its side.
   * @param {number} zoom
   */
  zoomTo(zoom, across = 0.5, down = 0.5) {
    const before = this.side;
    this.side = clamp(this.maxSide / zoom, this.minSide, this.maxSide);
    this.left += across * (before - this.side);
    this.top += down * (before - this.side);
    this.move(0, 0);
  }

  /**
   * The square in whole pixels, as the service accepts it.
   * @returns {Crop}
   */
  get crop() {
    const side = Math.floor(this.side);
    return {
      left: clamp(Math.round(this.left), 0, this.width - side),
      top: clamp(Math.round(this.top), 0, this.height - side),
      side,
    };
  }
}
