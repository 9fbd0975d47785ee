// Makes pictures small before they leave; runs in a worker of persona-profile.js, or else on its page's thread.

/** Of the worker that runs this module; without that name it only exports. */
export const WORKER_NAME = "persona-profile-reduction";

const SIDE = 1024; // twice the largest size that the server keeps
const MAX_CANVAS_SIDE = 4096; // Safari on phones draws nothing on larger ones, and says nothing
const BYTES = 280 * 1024; // what a photo should have at most
const TINY_BYTES = 32 * 1024; // not worth decoding
const HUGE_BYTES = 256 * 1024 * 1024; // a film, most likely; too much to be looked at
const MAX_PIXELS = 120e6; // some 500 MB when decoded; more may end the page
const PIXELS_PER_COLOUR = 64; // the server's own rule: fewer colours make a graphic
const QUALITIES = [0.95, 0.93, 0.9, 0.87, 0.84, 0.81, 0.78, 0.74, 0.7, 0.6, 0.5];
const FULL_CHROMA_SIDE = 640; // up to here pixels are few enough to keep nearly all of each

/** EXIF of a PNG or WebP by which it is not upright: not all browsers turn those. */
const TURNED =
  /(?:eXIf|EXIF)[^]{0,4000}?(?:\x01\x12\0\x03\0\0\0\x01\0[\x02-\x08]|\x12\x01\x03\0\x01\0\0\0[\x02-\x08]\0)/;

/**
 * Returns a square of a picture, scaled to at most 1024 pixels a side, upright, in sRGB, encoded.
 *
 * @param {Blob} file
 * @param {{left: number, top: number, side: number} | null} crop the largest square in the centre unless told
 * @returns {Promise<{blob: Blob, side: number} | null>} null if the file had better go as it is: it is small,
 *   the browser can't decode it or tampers with what it reads back, or the crop lies outside.
 */
export async function reducePicture(file, crop) {
  if (file.size <= TINY_BYTES || file.size > HUGE_BYTES || !readsBackTruly()) {
    return null;
  }
  const bytes = await file.arrayBuffer();
  const { isJpeg, pixels, isUnsafe } = readHeader(new DataView(bytes));
  const isTurned = !isJpeg && TURNED.test(new TextDecoder("latin1").decode(bytes));
  if (pixels > MAX_PIXELS || isUnsafe || isTurned || !(await honoursOrientation())) {
    return null;
  }
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  let canvas;
  try {
    const square = squareOf(bitmap, crop);
    const isSmall = file.size <= BYTES && Math.max(bitmap.width, bitmap.height) <= 2 * SIDE;
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

/** Returns what must be known before a file (of over 24 bytes) is decoded; pixels: of PNG and JPEG, else 0. */
function readHeader(view) {
  const start = view.getUint32(0);
  if (start === 0x89504e47) {
    return { isJpeg: false, pixels: view.getUint32(16) * view.getUint32(20) };
  }
  const isJpeg = start >>> 8 === 0xffd8ff;
  for (let at = 2; isJpeg && at + 10 < view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const pixels = view.getUint16(at + 5) * view.getUint16(at + 7);
      // Browsers do not agree on the colours of four inks.
      return { isJpeg, pixels, isUnsafe: view.getUint8(at + 9) === 4 };
    }
    at += 2 + view.getUint16(at + 2);
  }
  return { isJpeg, pixels: 0 };
}

/** Returns the square of the picture to take, or null if it has no such square. */
function squareOf({ width, height }, crop) {
  const longest = Math.min(width, height);
  const { left, top, side } = crop ?? {
    left: Math.floor((width - longest) / 2),
    top: Math.floor((height - longest) / 2),
    side: longest,
  };
  const isInside = left >= 0 && top >= 0 && side >= 1 && left + side <= width && top + side <= height;
  return isInside ? { left, top, side } : null;
}

/**
 * Scales down by halves, of which every browser makes the true average of four pixels, and what is left in
 * one more step: a single step leaves aliasing in some browsers, createImageBitmap's resizing in others.
 */
function scaled(bitmap, { left, top, side }) {
  let source = bitmap;
  do {
    const next =
      side >= 2 * SIDE ? Math.min(Math.round(side / 2), MAX_CANVAS_SIDE) : Math.min(side, SIDE);
    const canvas = new OffscreenCanvas(next, next);
    const context = contextOf(canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(source, left, top, side, side, 0, 0, next, next);
    [source, left, top, side] = [canvas, 0, 0, next];
  } while (side > SIDE);
  return source;
}

/** Returns a file, lossless for graphics; null if nothing was drawn. */
async function encoded(canvas, mayBeGraphic) {
  const { isGraphic, isOpaque, isBlank } = contentsOf(canvas);
  if (isBlank) {
    return null;
  }
  if (isGraphic && mayBeGraphic) {
    return canvas.convertToBlob({ type: "image/png" }); // of so few colours, under 2 MB
  }
  // At equal bytes the server makes more of JPEG, as it decodes that at half size by itself.
  const type = isOpaque ? "image/jpeg" : "image/webp";
  let blob;
  for (const quality of canvas.width <= FULL_CHROMA_SIDE ? [1, ...QUALITIES] : QUALITIES) {
    blob = await canvas.convertToBlob({ type, quality });
    if (blob.size <= BYTES || blob.type !== type) {
      break; // a browser that encodes no WebP makes PNG, whatever the quality
    }
  }
  return blob;
}

function contentsOf(canvas) {
  const { width } = canvas;
  const pixels = new Uint32Array(contextOf(canvas).getImageData(0, 0, width, width).data.buffer);
  const most = pixels.length / PIXELS_PER_COLOUR;
  const colours = new Set();
  let isOpaque = true;
  let isBlank = true;
  for (const pixel of pixels) {
    const alpha = pixel >>> 24;
    isOpaque &&= alpha === 255;
    isBlank &&= alpha === 0;
    if (colours.size <= most) {
      colours.add(pixel);
    }
  }
  return { isGraphic: colours.size <= most, isOpaque, isBlank };
}

// In main memory, where all is drawn alike whatever the graphics card.
const contextOf = (canvas) => canvas.getContext("2d", { willReadFrequently: true });

/** Some browsers give noise for what was drawn, so that pages can't tell machines apart by it. */
function readsBackTruly() {
  const context = contextOf(new OffscreenCanvas(32, 32));
  const drawn = context.createImageData(32, 32);
  drawn.data.forEach((_, at) => {
    drawn.data[at] = at % 4 === 3 ? 255 : at * 37;
  });
  context.putImageData(drawn, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.every((value, at) => value === drawn.data[at]);
}

let orientation;

/** Whether the browser turns pictures as cameras tell (EXIF): tried on two pixels that lie on their side. */
function honoursOrientation() {
  orientation ??= (async () => {
    const bytes = Uint8Array.from(atob(LYING), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]), { imageOrientation: "from-image" });
    const isUpright = bitmap.height > bitmap.width;
    bitmap.close();
    return isUpright;
  })();
  return orientation;
}

const LYING =
  "/9j/4QAiRXhpZgAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAD/2wBDAP//////////////////////////////////////////////////////////////////////////////////////wAALCAABAAIBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAA//EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AN//Z";

if (globalThis.name === WORKER_NAME && typeof document === "undefined") {
  globalThis.onmessage = async ({ data: { file, crop } }) => {
    globalThis.postMessage(await reducePicture(file, crop).catch(() => null));
  };
}
