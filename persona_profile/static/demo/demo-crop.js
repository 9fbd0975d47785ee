// The dialog to choose a square of a picture: by pointer, wheel, two fingers, slider and keyboard.

import { find, openDialog } from "./demo-page.js";
import { Square } from "./demo-square.js";
import { percent, text as textOf } from "./demo-texts.js";

/** @import { Crop } from "./persona-profile.js" */
/** @typedef {{ x: number, y: number }} Point in parts of the viewport */

const KEY_STEP = 0.02;
const LARGE_KEY_STEP = 0.1;
const ZOOM_STEP = 1.1;
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class Cropper {
  #dialog;
  #viewport;
  #image;
  #slider;
  #square = new Square(1, 1); // until a picture is loaded
  /** @type {Map<number, Point>} The position of each finger. */
  #pointers = new Map();

  /** @param {HTMLDialogElement} dialog with `.viewport`, a slider, `.percent` and a status */
  constructor(dialog) {
    this.#dialog = dialog;
    this.#viewport = find(dialog, ".viewport");
    this.#image = find(this.#viewport, "img", HTMLImageElement);
    this.#slider = find(dialog, "[type=range]", HTMLInputElement);
    this.#slider.addEventListener("input", () => this.#slide());
    this.#slider.addEventListener("keydown", (event) => this.#enter(event)); // submits nothing in Firefox
    this.#viewport.addEventListener("keydown", (event) => this.#press(event));
    this.#viewport.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.#viewport.addEventListener("pointerdown", (event) => this.#touch(event));
    this.#viewport.addEventListener("pointermove", (event) => this.#drag(event));
    for (const type of /** @type {const} */ (["pointerup", "pointercancel"])) {
      this.#viewport.addEventListener(type, (event) => this.#release(event));
    }
    new ResizeObserver(() => this.#draw()).observe(this.#viewport);
  }

  /** Whether the person is choosing a square. */
  get isOpen() {
    return this.#dialog.open;
  }

  /** Closes the dialog as its cancel button does, and waits until the picture in it is released. */
  async cancel() {
    this.#dialog.close("cancel");
    while (this.#image.hasAttribute("src")) {
      await new Promise((resolve) => setTimeout(resolve));
    }
  }

  /** @param {string} text a note about the file; empty for none */
  set note(text) {
    const line = find(this.#dialog, "#crop-note");
    line.textContent = text;
    line.hidden = !text;
  }

  /**
   * Returns the square that the person chooses, counted in the size that is shown; null if they cancel.
   * @param {Blob} file
   * @returns {Promise<(Crop & { of: { width: number, height: number } }) | null>}
   * @throws {DOMException} of name `EncodingError` if the browser can't decode the file
   */
  async choose(file) {
    const url = URL.createObjectURL(file);
    try {
      this.#image.src = url;
      await this.#image.decode();
      this.#square = new Square(this.#image.naturalWidth, this.#image.naturalHeight);
      this.#slider.disabled = this.#square.maxZoom === 1;
      this.#pointers.clear();
      const answer = openDialog(this.#dialog);
      this.#changed();
      const { width, height } = this.#square;
      return (await answer) === "use" ? { ...this.#square.crop, of: { width, height } } : null;
    } finally {
      this.#image.removeAttribute("src");
      URL.revokeObjectURL(url);
    }
  }

  #draw() {
    const { left, top, side, zoom, maxZoom } = this.#square;
    const scale = this.#viewport.clientWidth / side;
    this.#image.style.transform = `translate(${-left * scale}px, ${-top * scale}px) scale(${scale})`;
    find(this.#dialog, ".percent").textContent = percent(zoom);
    this.#slider.value = String(maxZoom > 1 ? (100 * Math.log(zoom)) / Math.log(maxZoom) : 0);
    this.#slider.setAttribute("aria-valuetext", percent(zoom));
  }

  /** Draws the square and announces its place; a moving finger only draws. */
  #changed() {
    this.#draw();
    const { left, top, side, width, height, zoom } = this.#square;
    find(this.#dialog, "[role=status]").textContent = textOf("crop.place", {
      zoom: percent(zoom),
      across: percent((left + side / 2) / width),
      down: percent((top + side / 2) / height),
    });
  }

  #slide() {
    this.#square.zoomTo(this.#square.maxZoom ** (this.#slider.valueAsNumber / 100));
    this.#changed();
  }

  /** @param {KeyboardEvent} event */
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
    } else {
      this.#enter(event);
      return;
    }
    event.preventDefault();
    this.#changed();
  }

  /** @param {KeyboardEvent} event */
  #enter(event) {
    if (event.key === "Enter") {
      event.preventDefault();
      if (!event.repeat) {
        this.#dialog.close("use"); // a key that is still held down from before chooses nothing
      }
    }
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    // A wheel turns by some 3 lines, or by some 100 pixels.
    const turned =
      event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? event.deltaY / 500 : event.deltaY / 15;
    const { x, y } = this.#point(event);
    this.#square.zoomTo(this.#square.zoom * Math.exp(-turned), x, y);
    this.#changed();
  }

  /** @param {MouseEvent} event */
  #point({ clientX, clientY }) {
    const box = this.#viewport.getBoundingClientRect();
    return { x: (clientX - box.left) / box.width, y: (clientY - box.top) / box.height };
  }

  /** @param {PointerEvent} event */
  #touch(event) {
    if (event.button > 0) {
      return;
    }
    this.#viewport.setPointerCapture(event.pointerId);
    this.#pointers.set(event.pointerId, this.#point(event));
  }

  /** @param {PointerEvent} event */
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

  /**
   * Zooms by the distance of two fingers, and moves with their centre.
   * @param {Point} before
   * @param {Point} now
   * @param {Point} other finger
   */
  #pinch(before, now, other) {
    const distance = (/** @type {Point} */ point) =>
      Math.max(0.01, Math.hypot(point.x - other.x, point.y - other.y));
    this.#square.move((before.x - now.x) / 2, (before.y - now.y) / 2);
    const zoom = (this.#square.zoom * distance(now)) / distance(before);
    this.#square.zoomTo(zoom, (now.x + other.x) / 2, (now.y + other.y) / 2);
  }

  /** @param {PointerEvent} event */
  #release(event) {
    if (this.#pointers.delete(event.pointerId)) {
      this.#changed();
    }
  }
}
