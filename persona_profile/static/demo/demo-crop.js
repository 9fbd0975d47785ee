// Choosing a square of a picture: by pointer, wheel, two fingers, slider and keyboard.

import { ask } from "./demo-page.js";

/** Side in pixels of the smallest square: less than that is never a good portrait. */
const SMALLEST_SIDE = 128;
const KEY_STEP = 0.02;
const LARGE_KEY_STEP = 0.1;
const ZOOM_STEP = 1.1;
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const clamp = (value, least, most) => Math.min(Math.max(value, least), Math.max(least, most));

/**
 * A square of a picture, in pixels of the upright picture.
 *
 * The square never leaves the picture; `zoom` is 1 where it is as large as the picture allows.
 */
export class Square {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.largest = Math.min(width, height);
    this.smallest = Math.min(this.largest, SMALLEST_SIDE);
    this.reset();
  }

  reset() {
    this.side = this.largest;
    this.left = (this.width - this.side) / 2;
    this.top = (this.height - this.side) / 2;
  }

  get zoom() {
    return this.largest / this.side;
  }

  get largestZoom() {
    return this.largest / this.smallest;
  }

  /** Moves by parts of the square's side. */
  move(across, down) {
    this.left = clamp(this.left + across * this.side, 0, this.width - this.side);
    this.top = clamp(this.top + down * this.side, 0, this.height - this.side);
  }

  /** Zooms; what is at a point of the square (parts of its side) stays there, as far as it can. */
  zoomTo(zoom, across = 0.5, down = 0.5) {
    const before = this.side;
    this.side = clamp(this.largest / zoom, this.smallest, this.largest);
    this.left += across * (before - this.side);
    this.top += down * (before - this.side);
    this.move(0, 0);
  }

  /** In whole pixels, as the service takes it. */
  get crop() {
    const side = Math.floor(this.side);
    return {
      left: clamp(Math.round(this.left), 0, this.width - side),
      top: clamp(Math.round(this.top), 0, this.height - side),
      side,
    };
  }
}

/** The dialog in which a person chooses the square. */
export class Cropper {
  #dialog;
  #viewport;
  #image;
  #slider;
  /** @type {Square} */
  #square;
  /** @type {Map<number, {x: number, y: number}>} Where each finger is, in parts of the viewport. */
  #pointers = new Map();

  /** @param {HTMLDialogElement} dialog with `.viewport`, a slider, `.percent` and a status */
  constructor(dialog) {
    this.#dialog = dialog;
    this.#viewport = dialog.querySelector(".viewport");
    this.#image = this.#viewport.querySelector("img");
    this.#slider = dialog.querySelector("[type=range]");
    this.#slider.addEventListener("input", () => this.#slide());
    this.#viewport.addEventListener("keydown", (event) => this.#press(event));
    this.#viewport.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#viewport.addEventListener("pointerdown", (event) => this.#touch(event));
    this.#viewport.addEventListener("pointermove", (event) => this.#drag(event));
    for (const type of ["pointerup", "pointercancel"]) {
      this.#viewport.addEventListener(type, (event) => this.#release(event));
    }
    new ResizeObserver(() => this.#draw()).observe(this.#viewport);
  }

  /**
   * Asks for a square of a picture.
   * @param {Blob} file
   * @returns {Promise<import("./persona-profile.js").Crop | null>} null if the person wanted none
   * @throws {DOMException} of name `EncodingError`: the browser can't show this file
   */
  async choose(file) {
    const url = URL.createObjectURL(file);
    try {
      this.#image.src = url;
      await this.#image.decode();
      this.#square = new Square(this.#image.naturalWidth, this.#image.naturalHeight);
      this.#slider.disabled = this.#square.largestZoom === 1;
      this.#pointers.clear();
      const answer = ask(this.#dialog);
      this.#changed();
      return (await answer) === "use" ? this.#square.crop : null;
    } finally {
      this.#image.removeAttribute("src");
      this.#square = null;
      URL.revokeObjectURL(url);
    }
  }

  #draw() {
    if (!this.#square) {
      return;
    }
    const { left, top, side, zoom, largestZoom } = this.#square;
    const scale = this.#viewport.clientWidth / side;
    this.#image.style.transform = `translate(${-left * scale}px, ${-top * scale}px) scale(${scale})`;
    const percent = `${Math.round(zoom * 100)} %`;
    this.#dialog.querySelector(".percent").textContent = percent;
    this.#slider.value = largestZoom > 1 ? (100 * Math.log(zoom)) / Math.log(largestZoom) : 0;
    this.#slider.setAttribute("aria-valuetext", percent);
  }

  /** Draws, and says where the square is now; not at every step of a finger. */
  #changed() {
    this.#draw();
    const { left, top, side, width, height, zoom } = this.#square;
    const across = Math.round((100 * (left + side / 2)) / width);
    const down = Math.round((100 * (top + side / 2)) / height);
    this.#dialog.querySelector("[role=status]").textContent =
      `Zoom ${Math.round(zoom * 100)} %, centre at ${across} % across and ${down} % down.`;
  }

  #slide() {
    this.#square.zoomTo(this.#square.largestZoom ** (this.#slider.value / 100));
    this.#changed();
  }

  #press(event) {
    const { key, shiftKey } = event;
    const step = shiftKey ? LARGE_KEY_STEP : KEY_STEP;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (key in ARROWS) {
      const [across, down] = ARROWS[key];
      this.#square.move(across * step, down * step);
    } else if (key === "+" || key === "=") {
      this.#square.zoomTo(this.#square.zoom * ZOOM_STEP);
    } else if (key === "-" || key === "_") {
      this.#square.zoomTo(this.#square.zoom / ZOOM_STEP);
    } else if (key === "0") {
      this.#square.reset();
    } else if (key === "Enter") {
      this.#dialog.close("use");
      return;
    } else {
      return;
    }
    event.preventDefault();
    this.#changed();
  }

  #wheel(event) {
    event.preventDefault();
    // A wheel of lines turns some 3 at a time, one of pixels some 100.
    const turned =
      event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 500 : event.deltaY / 15;
    const { x, y } = this.#point(event);
    this.#square.zoomTo(this.#square.zoom * Math.exp(-turned), x, y);
    this.#changed();
  }

  #point({ clientX, clientY }) {
    const box = this.#viewport.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  #touch(event) {
    if (event.button > 0) {
      return;
    }
    this.#viewport.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
  }

  #drag(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) {
      return;
    }
    const now = this.#point(event);
    const other = [...this.#pointers].find(([id]) => id !== event.pointerId)?.[1];
    this.#pointers.set(event.pointerId, now);
    if (other) {
      this.#pinch(before, now, other);
    } else {
      this.#square.move(before.x - now.x, before.y - now.y);
    }
    this.#draw();
  }

  /** Two fingers: their distance zooms, what is between them moves along. */
  #pinch(before, now, other) {
    const distance = (point) => Math.max(0.01, Math.hypot(point.x - other.x, point.y - other.y));
    this.#square.move((before.x - now.x) / 2, (before.y - now.y) / 2);
    const zoom = (this.#square.zoom * distance(now)) / distance(before);
    this.#square.zoomTo(zoom, (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  #release(event) {
    if (this.#pointers.delete(event.pointerId)) {
      this.#changed();
    }
  }
}
