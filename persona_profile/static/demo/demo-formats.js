// Finds out what a file is by its first bytes: the type that a system gives follows the name, or is missing.

/** Bytes at the start of a file that suffice. */
export const HEAD_BYTES = 64 * 1024;

/** The formats that the server accepts. */
export const ACCEPTED = ["jpeg", "png", "webp", "gif", "avif", "heic", "jxl", "tiff"];

/** The other formats; a text for each of them is in messages/, as `file.` and this name. */
export const OTHERS = /** @type {const} */ ([
  "bmp",
  "icon",
  "svg",
  "postscript",
  "jpeg2000",
  "raw",
  "photoshop",
  "gimp",
  "pdf",
  "web",
  "text",
  "archive",
  "video",
  "audio",
]);

/** Starts of files: a format, the offset of its bytes, and the bytes as characters. */
const STARTS = /** @type {[string, number, string][]} */ ([
  ["jpeg", 0, "\xff\xd8\xff"],
  ["png", 0, "\x89PNG\r\n\x1a\n"],
  ["gif", 0, "GIF87a"],
  ["gif", 0, "GIF89a"],
  ["jxl", 0, "\xff\x0a"],
  ["jxl", 0, "\0\0\0\x0cJXL \r\n\x87\n"],
  ["tiff", 0, "II*\0"], // DNG is TIFF
  ["tiff", 0, "MM\0*"],
  ["jpeg2000", 0, "\0\0\0\x0cjP  "],
  ["jpeg2000", 0, "\xff\x4f\xff\x51"],
  ["raw", 0, "FUJIFILMCCD-RAW"],
  ["raw", 0, "IIRO"],
  ["raw", 0, "IIRS"],
  ["raw", 0, "MMOR"],
  ["raw", 0, "IIU\0"],
  ["raw", 0, "FOVb"],
  ["photoshop", 0, "8BPS"],
  ["gimp", 0, "gimp xcf"],
  ["icon", 0, "\0\0\x01\0"],
  ["icon", 0, "\0\0\x02\0"],
  ["postscript", 0, "%!PS"],
  ["postscript", 0, "\xc5\xd0\xd3\xc6"],
  ["archive", 0, "PK\x03\x04"],
  ["archive", 0, "PK\x05\x06"],
  ["archive", 0, "\x1f\x8b"],
  ["archive", 0, "Rar!\x1a\x07"],
  ["archive", 0, "7z\xbc\xaf\x27\x1c"],
  ["archive", 0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"],
  ["video", 0, "\x1a\x45\xdf\xa3"],
  ["video", 0, "\0\0\x01\xba"],
  ["video", 0, "\0\0\x01\xb3"],
  ["video", 0, "\x30\x26\xb2\x75\x8e\x66\xcf\x11"],
  ["video", 0, "FLV\x01"],
  ["audio", 0, "ID3"],
  ["audio", 0, "fLaC"],
  ["audio", 0, "OggS"],
  ["audio", 0, "caff"],
]);

/** Boxes at the start of a QuickTime film, if they are not words of a text. */
const FILM_BOXES = ["moov", "mdat", "wide", "skip", "free", "pnot"];

/** Formats of the Resource Interchange File Format, by their type. */
const RIFF = /** @type {Record<string, string>} */ ({ WEBP: "webp", "AVI ": "video", WAVE: "audio" });

/** Brands of the ISO base media file format. Any of a file's brands may be a picture's (ISO/IEC 23008-12). */
const AVIF_BRANDS = ["avif", "avis", "avio"];
const HEIF_BRANDS = /^(?:he[iv][a-z]|mif[1-3]|msf1|miaf|MiH.|MiPr|MA1[AB])$/;
const VIDEO_BRANDS =
  /^(?:iso[m2-9a-c]|mp4[12v]|avc1|hvc1|hev1|qt {2}|M4V[HP ]|3g[2p].|f4v |mmp4|MSNV|XAVC|dash|cmf.)$/;
const AUDIO_BRANDS = /^(?:M4[ABP] |F4A )$/;

const BMP_HEADERS = [12, 16, 40, 52, 56, 64, 108, 124];
// No text has these, except in UTF-16, which begins with a mark.
// eslint-disable-next-line no-control-regex
const NOT_TEXT = /[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]/;
const UTF_16 = /^(?:\xff\xfe|\xfe\xff)/;
/** Names of pictures that no start above matches, so that the server decides. */
const PICTURE_NAME = /\.(?:jpe?g|jpe|jfif|png|webp|gif|avifs?|hei[cf]s?|hif|jxl|dng|tiff?)$/i;

/**
 * Returns the format of a file: of `ACCEPTED`, or of `OTHERS`; null if it is unknown.
 * @param {Uint8Array} head its first HEAD_BYTES
 * @returns {string | null}
 */
export function formatOf(head) {
  const text = new TextDecoder("latin1").decode(head); // controls 80 to 9f are other characters
  const bytes = Array.from(head.subarray(0, 64), (byte) => String.fromCharCode(byte)).join("");
  const known = STARTS.find(([, offset, start]) => bytes.startsWith(start, offset));
  if (known) {
    return known[0];
  }
  if (bytes.startsWith("RIFF")) {
    return RIFF[bytes.slice(8, 12)] ?? null;
  }
  if (bytes.startsWith("ftyp", 4)) {
    return formatOfBrands(brandsOf(head));
  }
  if (bytes.startsWith("BM") && BMP_HEADERS.includes(number(head, 14, true))) {
    return "bmp";
  }
  if (text.slice(0, 1024).includes("%PDF-")) {
    return "pdf";
  }
  const isFrameOfSound = head[0] === 0xff && (head[1] & 0xe6) === 0xe2;
  if (isFrameOfSound) {
    return "audio";
  }
  return formatOfText(head, text) ?? (FILM_BOXES.includes(bytes.slice(4, 8)) ? "video" : null);
}

/** @param {string[]} brands */
function formatOfBrands(brands) {
  const has = (/** @type {(brand: string) => boolean} */ condition) => brands.some(condition);
  if (has((brand) => AVIF_BRANDS.includes(brand))) {
    return "avif";
  }
  if (has((brand) => HEIF_BRANDS.test(brand))) {
    return "heic";
  }
  if (has((brand) => brand === "jxl ")) {
    return "jxl";
  }
  if (brands[0] === "crx ") {
    return "raw";
  }
  if (AUDIO_BRANDS.test(brands[0])) {
    return "audio";
  }
  return has((brand) => VIDEO_BRANDS.test(brand)) ? "video" : null;
}

/**
 * Returns the major brand and all compatible brands: a box of 32 or 64 bits of length, or up to the end.
 * @param {Uint8Array} head
 */
function brandsOf(head) {
  const length = number(head, 0);
  const start = length === 1 ? 16 : 8;
  const end = length === 1 ? number(head, 12) : length || head.length;
  const brands = [];
  for (let at = start; at + 4 <= Math.min(end, head.length); at += 4) {
    if (at !== start + 4) {
      brands.push(String.fromCharCode(...head.subarray(at, at + 4))); // else the minor version
    }
  }
  return brands;
}

/**
 * @param {Uint8Array} head
 * @param {string} text of one character for each byte
 */
function formatOfText(head, text) {
  const isWide = UTF_16.test(String.fromCharCode(...head.subarray(0, 2)));
  const words = isWide
    ? new TextDecoder(head[0] === 0xff ? "utf-16le" : "utf-16be").decode(head)
    : text;
  if (!head.length || NOT_TEXT.test(words)) {
    return null;
  }
  if (/<svg[\s>]|<!DOCTYPE svg/i.test(words) && !/<html[\s>]/i.test(words)) {
    return "svg";
  }
  return /<!DOCTYPE html|<html[\s>]/i.test(words) ? "web" : "text";
}

/**
 * Returns a number of 32 bits; 0 behind the end.
 * @param {Uint8Array} head
 * @param {number} at
 */
function number(head, at, isLittle = false) {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return at + 4 <= head.length ? view.getUint32(at, isLittle) : 0;
}

/**
 * Returns whether the server may accept a file. An unknown one is uploaded if its name or type is a picture's.
 * @param {string | null} format
 * @param {{ name: string, type: string }} file
 */
export const mayBePicture = (format, { name, type }) =>
  format ? ACCEPTED.includes(format) : type.startsWith("image/") || PICTURE_NAME.test(name);
