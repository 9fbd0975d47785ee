// Reduces pictures before they are uploaded; the code of a worker of persona-profile-pictures.js.

/** @import * as types from "./persona-profile-internals.js" */

// A worker of this name reduces the pictures that are posted to it.
const WORKER_NAME = "persona-profile-reduction";

const SIDE = 1024; // twice the largest size that the server keeps
const MAX_CANVAS_SIDE = 4096; // larger ones stay blank in Safari on phones, without an error
const MAX_BYTES = 280 * 1024; // of a photo
const TINY_BYTES = 32 * 1024; // not worth decoding
const HUGE_BYTES = 256 * 1024 * 1024; // most likely a film
const MAX_PIXELS = 120e6; // some 500 MB when decoded; more may crash the page
const SMALL_SIDE = 128; // at most this side, PNG has at most 64 KiB
// A graphic has two of three, as on the server: few colours, flat areas, sharp edges.
const FEW_COLOURS = 1024;
const PIXELS_PER_COLOUR = 64;
const FLAT_PART = 0.6;
const SHARP_PART = 0.2;
const SHARP_STEP = 32;
const QUALITIES = [0.95, 0.93, 0.9, 0.87, 0.84, 0.81, 0.78, 0.74, 0.7, 0.6, 0.5];
const FULL_CHROMA_SIDE = 640; // at most this side, quality 1 may fit

// An orientation other than upright: in EXIF of either byte order, in the properties of an AVIF.
const ROTATED =
  // eslint-disable-next-line no-control-regex
  /\x01\x12\0\x03\0\0\0\x01\0[\x02-\x08]|\x12\x01\x03\0\x01\0\0\0[\x02-\x08]\0|irot|imir/;

const [CHUNK_EXIF, CHUNK_IDAT, BOX_FTYP, BOX_META] = [0x65584966, 0x49444154, 0x66747970, 0x6d657461];

/** @type {types.Reduce} */
export async function reducePicture(file, crop) {
  if (file.size <= TINY_BYTES || file.size > HUGE_BYTES || !readsBackExactly()) {
    return null;
  }
  const bytes = await file.arrayBuffer();
  const { isJpeg, pixels, isUnsafe } = readHeader(new DataView(bytes));
  if (pixels > MAX_PIXELS || isUnsafe || !(await appliesOrientation())) {
    return null;
  }
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  let canvas;
  try {
    const square = squareOf(bitmap, crop);
    const isSmall = file.size <= MAX_BYTES && Math.max(bitmap.width, bitmap.height) <= 2 * SIDE;
    if (!square || isSmall) {
      return null;
    }
    canvas = scaled(bitmap, square);
  } finally {
    bitmap.close();
  }
  const blob = await encoded(canvas, !isJpeg);
  return blob && blob.size < file.size ? { blob, side: canvas.width } : null;
}

/** @type {types.ReadHeader} */
export function readHeader(view) {
  const start = view.getUint32(0);
  if (start === 0x89504e47) {
    const pixels = view.getUint32(16) * view.getUint32(20);
    return { isJpeg: false, pixels, isUnsafe: isRotatedPng(view) };
  }
  if (view.getUint32(4) === BOX_FTYP) {
    return { isJpeg: false, pixels: 0, isUnsafe: isRotatedAvif(view) };
  }
  const isJpeg = start >>> 8 === 0xffd8ff;
  let [isUnsafe, hasApp1] = [false, false];
  for (let at = 2; isJpeg && at + 10 < view.byteLength && view.getUint8(at) === 0xff; ) {
    const [marker, length] = [view.getUint8(at + 1), view.getUint16(at + 2)];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const pixels = view.getUint16(at + 5) * view.getUint16(at + 7);
      // Browsers show CMYK in different colours.
      return { isJpeg, pixels, isUnsafe: isUnsafe || view.getUint8(at + 9) === 4 };
    }
    if (marker === 0xe1) {
      // Some browsers read EXIF only in the first segment of this kind, and others in any.
      isUnsafe ||= hasApp1 && isRotated(view, at, length);
      hasApp1 = true;
    }
    at += 2 + length;
  }
  return { isJpeg, pixels: 0 };
}

/** @param {DataView} view of a PNG: whether EXIF before the pixels rotates it, which not all browsers apply */
function isRotatedPng(view) {
  for (let at = 8; at + 12 <= view.byteLength; ) {
    const [length, kind] = [view.getUint32(at), view.getUint32(at + 4)];
    if (kind === CHUNK_IDAT) {
      return false;
    }
    if (kind === CHUNK_EXIF && isRotated(view, at + 8, length)) {
      return true;
    }
    at += 12 + length;
  }
  return false;
}

/** @param {DataView} view of a HEIF file: whether it is an AVIF that is rotated, which not all browsers apply */
function isRotatedAvif(view) {
  const brands = latin1(view, 8, Math.min(view.getUint32(0), 256) - 8);
  for (let at = 0; brands.includes("avi") && at + 8 <= view.byteLength; ) {
    const [length, kind] = [view.getUint32(at), view.getUint32(at + 4)];
    if (kind === BOX_META) {
      return isRotated(view, at, length);
    }
    at += Math.max(8, length);
  }
  return false;
}

/** @type {types.IsRotated} */
const isRotated = (view, start, length) => ROTATED.test(latin1(view, start, length));

/**
 * Returns bytes as characters, up to the end of the file.
 * @param {DataView} view
 * @param {number} start
 * @param {number} length
 */
function latin1({ buffer, byteLength }, start, length) {
  const kept = Math.max(0, Math.min(length, byteLength - start));
  return new TextDecoder("latin1").decode(new Uint8Array(buffer, Math.min(start, byteLength), kept));
}

/** @type {types.SquareOf} Returns null if the crop lies outside, or belongs to a picture of another shape. */
export function squareOf(size, crop) {
  const { width, height } = size;
  const longest = Math.min(width, height);
  const {
    left,
    top,
    side,
    of = size,
  } = crop ?? {
    left: Math.floor((width - longest) / 2),
    top: Math.floor((height - longest) / 2),
    side: longest,
  };
  const isInside =
    left >= 0 && top >= 0 && side >= 1 && left + side <= of.width && top + side <= of.height;
  if (!isInside || !isScaled(of, size)) {
    return null;
  }
  // As on the server: the largest square stays the largest one, and each square keeps its centre.
  const scaledSide = Math.max(1, Math.round((side * longest) / Math.min(of.width, of.height)));
  const placed = (/** @type {number} */ at, /** @type {number} */ from, /** @type {number} */ to) =>
    clamp(Math.round((at + side / 2) * (to / from) - scaledSide / 2), 0, to - scaledSide);
  return {
    left: placed(left, of.width, width),
    top: placed(top, of.height, height),
    side: scaledSide,
  };
}

/** @type {types.IsScaled} Whether a size is another's, scaled by one factor, each side rounded up or down. */
export const isScaled = ({ width, height }, original) =>
  (width - 1) * original.height < (height + 1) * original.width &&
  (height - 1) * original.width < (width + 1) * original.height;

/** @type {(value: number, min: number, max: number) => number} */
const clamp = (value, min, max) => Math.min(Math.max(value, min), max);

/**
 * Scales down by halves, which every browser does exactly, and then once more: a single step, or
 * createImageBitmap's resizing, leaves aliasing in some browsers.
 * @type {types.Scale}
 */
function scaled(source, { left, top, side }) {
  do {
    const next =
      side >= 2 * SIDE ? Math.min(Math.round(side / 2), MAX_CANVAS_SIDE) : Math.min(side, SIDE);
    const canvas = new OffscreenCanvas(next, next);
    const context = contextOf(canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, side, side, 0, 0, next, next);
    [source, left, top, side] = [canvas, 0, 0, next];
  } while (side > SIDE);
  return /** @type {OffscreenCanvas} */ (source);
}

/** @type {types.Encode} Returns PNG for graphics and small ones, or null if nothing was drawn. */
async function encoded(canvas, mayBeGraphic) {
  const { isGraphic, isOpaque, isBlank } = contentsOf(canvas);
  if (isBlank) {
    return null;
  }
  if (canvas.width <= SMALL_SIDE || (isGraphic && mayBeGraphic)) {
    return canvas.convertToBlob({ type: "image/png" }); // under 2 MB
  }
  // At equal bytes JPEG gives the server more: it decodes JPEG at half size.
  const type = isOpaque ? "image/jpeg" : "image/webp";
  let blob = null;
  for (const quality of canvas.width <= FULL_CHROMA_SIDE ? [1, ...QUALITIES] : QUALITIES) {
    blob = await canvas.convertToBlob({ type, quality });
    if (blob.size <= MAX_BYTES || blob.type !== type) {
      break; // small enough, or PNG: the browser encodes no WebP
    }
  }
  return blob;
}

/** @type {types.Analyse} */
function contentsOf(canvas) {
  const { width } = canvas;
  const { data } = contextOf(canvas).getImageData(0, 0, width, width);
  let isOpaque = true;
  let isBlank = true;
  for (let at = 3; at < data.length; at += 4) {
    isOpaque &&= data[at] === 255;
    isBlank &&= data[at] === 0;
  }
  return { isGraphic: isGraphicOf(data), isOpaque, isBlank };
}

/** @type {types.IsGraphicOf} */
export function isGraphicOf(data) {
  const pixels = new Uint32Array(data.buffer);
  const maxColours = Math.max(FEW_COLOURS, pixels.length / PIXELS_PER_COLOUR);
  const colours = new Set();
  let changes = 0;
  let steps = 0;
  pixels.forEach((pixel, index) => {
    if (colours.size <= maxColours) {
      colours.add(pixel);
    }
    if (index > 0 && pixel !== pixels[index - 1]) {
      changes += 1;
      steps += stepTo(data, index * 4) >= SHARP_STEP ? 1 : 0;
    }
  });
  const hasFewColours = colours.size <= maxColours;
  const isFlat = pixels.length - changes >= pixels.length * FLAT_PART;
  const isSharp = steps > changes * SHARP_PART;
  return [hasFewColours, isFlat, isSharp].filter(Boolean).length >= 2;
}

/** @type {types.StepTo} Returns the largest difference of a channel from the pixel before. */
function stepTo(data, at) {
  let step = 0;
  for (let channel = at; channel < at + 4; channel += 1) {
    step = Math.max(step, Math.abs(data[channel] - data[channel - 4]));
  }
  return step;
}

/** @type {types.ContextOf} In main memory: pixels do not depend on the graphics card. */
const contextOf = (canvas) =>
  /** @type {any} */ (canvas.getContext("2d", { willReadFrequently: true }));

/** Some browsers add noise to canvas pixels, against fingerprinting. */
function readsBackExactly() {
  const context = contextOf(new OffscreenCanvas(32, 32));
  const drawn = context.createImageData(32, 32);
  drawn.data.forEach((_, at) => {
    drawn.data[at] = at % 4 === 3 ? 255 : at * 37;
  });
  context.putImageData(drawn, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.every((value, at) => value === drawn.data[at]);
}

/** @type {Promise<boolean> | undefined} */
let orientation;

/** Whether the browser applies EXIF orientation: tried on two rotated pixels. */
function appliesOrientation() {
  orientation ??= (async () => {
    const bytes = Uint8Array.from(atob(ROTATED_JPEG), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]), { imageOrientation: "from-image" });
    const isUpright = bitmap.height > bitmap.width;
    bitmap.close();
    return isUpright;
  })();
  return orientation;
}

const ROTATED_JPEG =
  "/9j/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wAALCAABAAIBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z";

if (typeof document === "undefined" && globalThis.self?.name === WORKER_NAME) {
  self.onmessage = async ({ data: { file, crop } }) => {
    self.postMessage(await reducePicture(file, crop).catch(() => null));
  };
}
