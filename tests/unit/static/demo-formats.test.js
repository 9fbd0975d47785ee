import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { describe, test } from "node:test";
import {
  ACCEPTED,
  OTHERS,
  formatOf,
  mayBePicture,
} from "../../../persona_profile/static/demo/demo-formats.js";

const FOREIGN = new URL("../../support/pictures/foreign/", import.meta.url);
const FORMATS = { jpg: "jpeg", png: "png", webp: "webp", gif: "gif", avif: "avif", heic: "heic" };

const bytes = (text) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const utf8 = (text) => new TextEncoder().encode(text);
const box = (length, ...brands) =>
  bytes(
    `\0\0${String.fromCharCode(length >> 8, length & 255)}ftyp${brands[0]}\0\0\0\0${brands.slice(1).join("")}`,
  );
const ftyp = (...brands) => box(12 + 4 * brands.length, ...brands);

describe("format of the start of a file", () => {
  for (const [name, head, wanted] of [
    ["JPEG", bytes("\xff\xd8\xff\xe0\0\x10JFIF\0"), "jpeg"],
    ["PNG", bytes("\x89PNG\r\n\x1a\n\0\0\0\rIHDR"), "png"],
    ["GIF 87a", bytes("GIF87a\x01\0\x01\0"), "gif"],
    ["GIF 89a", bytes("GIF89a\x01\0\x01\0"), "gif"],
    ["WebP", bytes("RIFF\x24\0\0\0WEBPVP8 "), "webp"],
    ["JPEG XL, codestream", bytes("\xff\x0a\xfa\x1f\x01"), "jxl"],
    ["JPEG XL, container", bytes("\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl "), "jxl"],
    ["DNG, little endian", bytes("II*\0\x08\0\0\0"), "tiff"],
    ["DNG, big endian", bytes("MM\0*\0\0\0\x08"), "tiff"],
    ["HEIC of an iPhone", ftyp("heic", "mif1", "MiHE", "MiPr", "miaf", "MiHB", "heic"), "heic"],
    ["HEIF, major brand", ftyp("mif1", "heic"), "heic"],
    [
      "HEIC with its brand at the end",
      ftyp("isom", "iso2", "mp41", "abcd", "efgh", "ijkl", "heix"),
      "heic",
    ],
    ["HEIC sequence", ftyp("hevc", "msf1"), "heic"],
    ["HEIC of multiple layers", ftyp("heim"), "heic"],
    ["HIF of a Canon", ftyp("heix", "mif1", "heix"), "heic"],
    ["HIF of a Sony", ftyp("msf1", "heis"), "heic"],
    ["AVIF", ftyp("avif", "mif1", "miaf", "MA1B"), "avif"],
    ["AVIF sequence", ftyp("avis", "msf1", "miaf"), "avif"],
    ["AVIF with its brand at the end", ftyp("mif1", "miaf", "aaaa", "bbbb", "cccc", "avif"), "avif"],
    ["ftyp up to the end of the file", box(0, "isom", "mp42", "heic"), "heic"],
    ["ftyp of 64 bits", bytes("\0\0\0\x01ftyp\0\0\0\0\0\0\0\x1cmif1\0\0\0\0heic"), "heic"],
    ["MP4", ftyp("isom", "iso2", "avc1", "mp41"), "video"],
    ["MP4 of HEVC", ftyp("mp42", "hvc1"), "video"],
    ["QuickTime", ftyp("qt  "), "video"],
    ["QuickTime without ftyp", bytes("\0\0\0\x08wide\0\x01\x02\x03mdat"), "video"],
    ["3GPP", ftyp("3gp4", "isom"), "video"],
    ["minor version is no brand", bytes("\0\0\0\x14ftypisomheicmp41"), "video"],
    ["brand behind ftyp", bytes("\0\0\0\x14ftypisom\0\0\0\0mp41heic"), "video"],
    ["M4A", ftyp("M4A ", "mp42"), "audio"],
    ["CR3", ftyp("crx ", "isom"), "raw"],
    ["unknown brands", ftyp("abcd", "efgh"), null],
    ["Matroska", bytes("\x1aE\xdf\xa3\x01\0\0\0"), "video"],
    ["AVI", bytes("RIFF\x24\0\0\0AVI LIST"), "video"],
    ["MPEG", bytes("\0\0\x01\xba\x44"), "video"],
    ["WAV", bytes("RIFF\x24\0\0\0WAVEfmt "), "audio"],
    ["MP3", bytes("\xff\xfb\x90\x64\0\0"), "audio"],
    ["BMP", bytes("BM\x36\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"), "bmp"],
    ["icon", bytes("\0\0\x01\0\x01\0\x10\x10"), "icon"],
    ["JPEG 2000", bytes("\0\0\0\x0cjP  \r\n\x87\n"), "jpeg2000"],
    ["Photoshop", bytes("8BPS\0\x01"), "photoshop"],
    ["PDF", bytes("%PDF-1.7\n%\xe2\xe3\xcf\xd3"), "pdf"],
    ["PDF behind other bytes", bytes("\0\0\r\n%PDF-1.7\n%\xe2\xe3"), "pdf"],
    ["PostScript", utf8("%!PS-Adobe-3.0 EPSF-3.0\n"), "postscript"],
    ["zip", bytes("PK\x03\x04\x14\0"), "archive"],
    ["SVG", utf8("<svg xmlns='http://www.w3.org/2000/svg'/>"), "svg"],
    [
      "SVG behind a declaration",
      utf8("\ufeff<?xml version='1.0'?>\n<!-- a -->\n<svg\n width='9'>"),
      "svg",
    ],
    ["SVG in UTF-16", bytes(`\xff\xfe${[..."<svg >"].join("\0")}\0`), "svg"],
    ["web page", utf8("<!DOCTYPE html><title>Zoë</title><svg ></svg><html lang=en>"), "web"],
    ["text", utf8("I go wide, ftyp, Zoë, 🙂.\r\n\t"), "text"],
    ["text that begins like a BMP", utf8("BMW is a car, and no picture."), "text"],
    ["text with the name of a box", utf8("The wide road\n"), "text"],
    ["text in Latin-1", bytes("Zo\xeb"), "text"],
    ["unknown bytes", bytes("\x01\x02\x03\x04junk"), null],
    ["start of a start", bytes("\xff\xd8"), "text"],
    ["nothing", new Uint8Array(), null],
  ]) {
    test(name, () => assert.equal(formatOf(head), wanted));
  }

  for (const name of readdirSync(FOREIGN)) {
    const wanted = FORMATS[name.split(".").at(-1)];
    test(`of another program: ${name}`, { skip: !wanted }, () => {
      assert.equal(formatOf(readFileSync(new URL(name, FOREIGN))), wanted);
    });
  }

  test("is accepted, or has a name", () => {
    const names = [...ACCEPTED, ...OTHERS];
    assert.equal(new Set(names).size, names.length);
  });

  test("reads no byte behind the end", () => {
    for (const whole of [
      ftyp("mif1", "heic"),
      bytes("\0\0\0\x01ftyp\0\0\0\0"),
      bytes("BM\x36\0"),
      bytes("RIFF"),
    ]) {
      for (let length = 0; length <= whole.length; length += 1) {
        const format = formatOf(whole.subarray(0, length));
        assert.ok(format === null || ACCEPTED.includes(format) || OTHERS.includes(format));
      }
    }
  });
});

describe("file that may be a picture", () => {
  for (const [format, name, type, wanted] of [
    ["heic", "IMG_1.HEIC", "application/octet-stream", true],
    ["heic", "IMG_1", "", true],
    ["jpeg", "letter.txt", "text/plain", true],
    ["bmp", "me.jpg", "image/jpeg", false],
    ["text", "me.jpg", "image/jpeg", false],
    [null, "me.bin", "", false],
    [null, "me.bin", "application/octet-stream", false],
    [null, "me.bin", "image/png", true],
    [null, "me.HIF", "", true],
    [null, "me.jxl", "", true],
    [null, "me.png.exe", "", false],
  ]) {
    test(`${format}, ${name}, ${type || "no type"}`, () => {
      assert.equal(mayBePicture(format, { name, type }), wanted);
    });
  }
});
