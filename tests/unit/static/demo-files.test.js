import assert from "node:assert/strict";
import { describe, test } from "node:test";
import "./served-folder.js";

const { filesOf, firstPicture, nameOf } =
  await import("../../../persona_profile/static/demo/demo-files.js");

const CHOOSE = "Choose a JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL or DNG picture.";
const JPEG = Uint8Array.of(0xff, 0xd8, 0xff, 0xe0);
const given = (content, name, type = "") => ({
  file: new File([content], name, { type }),
  isFolder: false,
});
const plain = (text) => text.replace(/[\u2066-\u2069]/g, "");

async function pick(...files) {
  const { file, text } = await firstPicture(files);
  return [file?.name ?? null, plain(text)];
}

describe("first picture", () => {
  test("of one file needs no words", async () => {
    assert.deepEqual(await pick(given(JPEG, "me", "application/octet-stream")), ["me", ""]);
  });

  test("of several files", async () => {
    const files = [given("Hello", "a.txt"), given(JPEG, "b.jpg"), given(JPEG, "c.jpg")];
    assert.deepEqual(await pick(...files), [
      "b.jpg",
      "“a.txt” is a text. “b.jpg” is used, the first picture of 3 files.",
    ]);
  });

  for (const [content, name, reason] of [
    ["", "me.heic", "“me.heic” is empty: it has 0 bytes."],
    ["<svg >", "me.svg", "“me.svg” is an SVG drawing."],
    ["%PDF-1.7", "me.jpg", "“me.jpg” is a PDF document."],
    [Uint8Array.of(1, 2, 3), "me.bin", "“me.bin” is no picture of a known format."],
  ]) {
    test(`none: ${reason}`, async () => {
      assert.deepEqual(await pick(given(content, name)), [null, `${reason} ${CHOOSE}`]);
    });
  }

  test("none in a folder", async () => {
    const folder = { file: new File([], "Photos"), isFolder: true };
    assert.deepEqual(await pick(folder), [null, `“Photos” is a folder. ${CHOOSE}`]);
  });

  test("none in a file that is gone", async () => {
    const gone = { arrayBuffer: () => Promise.reject(new Error()) };
    const file = { ...gone, name: "me.jpg", size: 0, slice: () => new Blob([]) };
    const [name, text] = await pick({ file, isFolder: false });
    assert.equal(name, null);
    assert.match(text, /^“me\.jpg” can’t be read: /);
  });

  test("none in a file that can't be read", async () => {
    const locked = { arrayBuffer: () => Promise.reject(new Error()) };
    const [, text] = await pick({
      file: { name: "me.jpg", size: 9, slice: () => locked },
      isFolder: false,
    });
    assert.match(text, /^“me\.jpg” can’t be read: /);
  });

  test("none of many files: the first are named, the others counted", async () => {
    const files = Array.from({ length: 6 }, (_, at) => given("Hello", `${at}.txt`));
    const [, text] = await pick(...files);
    const words = "“0.txt” is a text. “1.txt” is a text. “2.txt” is a text. 3 more are no pictures.";
    assert.equal(text, `${words} ${CHOOSE}`);
  });

  test("examines no more than some files", async () => {
    const read = [];
    const slice = (name) => (read.push(name), new Blob(["Hello"]));
    const file = (name) => ({ name, size: 5, slice: () => slice(name), type: "" });
    const { file: found } = await firstPicture(
      Array.from({ length: 1000 }, (_, at) => ({ file: file(`${at}`), isFolder: false })),
    );
    assert.deepEqual([found, read.length], [null, 50]);
  });
});

describe("name in a sentence", () => {
  test("is isolated from it", () => assert.equal(nameOf({ name: "اسم.jpg" }), "“\u2068اسم.jpg\u2069”"));
  test("is short, and shows its end", () => {
    const name = plain(nameOf({ name: `${"🙂".repeat(200)}.jpg` }));
    assert.equal([...name].length, 63);
    assert.match(name, /^“🙂+…🙂+\.jpg”$/u);
  });
  test("may be missing", () => assert.equal(plain(nameOf({ name: "" })), "“This file”"));
});

describe("files of a transfer", () => {
  const item = (entry, file, kind = "file") => ({
    kind,
    getAsFile: () => file,
    webkitGetAsEntry: () => entry,
  });
  const file = new File(["x"], "me.jpg");

  test("have folders among them", () => {
    const items = [item({ isDirectory: true, name: "Photos" }, null), item(null, file)];
    const found = filesOf({ items: [...items, item(null, null, "string")] });
    assert.deepEqual(
      found.map((each) => [each.file.name, each.isFolder]),
      [
        ["Photos", true],
        ["me.jpg", false],
      ],
    );
  });

  test("are those of an input", () => assert.deepEqual(filesOf([file]), [{ file, isFolder: false }]));
  test("may be none", () => assert.deepEqual([filesOf(null), filesOf({ items: [] })], [[], []]));
});
