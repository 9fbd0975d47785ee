// The files that a person chooses, drops or pastes: which one is the picture, and why the others are not.

import { HEAD_BYTES, OTHERS, formatOf, mayBePicture } from "./demo-formats.js";
import { text } from "./demo-texts.js";

/** @typedef {{ file: File, isFolder: boolean }} Given */
/** @typedef {{ file: File | null, text: string }} Picked `text` for the person; empty if all is as expected */

const MAX_EXAMINED = 50;
const MAX_NAMED = 3;
const MAX_NAME = 60; // characters
const NAME_END = 20;

/**
 * Returns the files of a drop, a paste or an input. To be called during the event: the transfer ends with it.
 * @param {DataTransfer | FileList | null | undefined} source
 * @returns {Given[]}
 */
export function filesOf(source) {
  if (!source || !("items" in source)) {
    return [...(source ?? [])].map((file) => ({ file, isFolder: false }));
  }
  const given = [];
  for (const item of source.items) {
    const entry = item.kind === "file" ? item.webkitGetAsEntry?.() : null;
    const file = item.kind === "file" ? (item.getAsFile() ?? new File([], entry?.name ?? "")) : null;
    if (file) {
      given.push({ file, isFolder: entry?.isDirectory ?? false });
    }
  }
  return given;
}

/**
 * Returns the first picture of some files.
 * @param {Given[]} given
 * @returns {Promise<Picked>}
 */
export async function firstPicture(given) {
  const reasons = [];
  for (const each of given.slice(0, MAX_EXAMINED)) {
    const reason = await reasonAgainst(each);
    if (!reason) {
      const chosen = text("file.chosen", { name: nameOf(each.file), count: given.length });
      return { file: each.file, text: given.length > 1 ? joined([...shortened(reasons), chosen]) : "" };
    }
    reasons.push(reason);
  }
  return {
    file: null,
    text: reasons.length ? joined([...shortened(reasons), text("file.accepted")]) : "",
  };
}

/**
 * Returns why a file can't be the picture; empty if it may be one.
 * @param {Given} given
 */
async function reasonAgainst({ file, isFolder }) {
  const name = nameOf(file);
  if (isFolder) {
    return text("file.folder", { name });
  }
  let head;
  try {
    // A file that is gone has the size 0, and its slices are empty; only reading the file itself fails.
    head = new Uint8Array(await (file.size ? file.slice(0, HEAD_BYTES) : file).arrayBuffer());
  } catch {
    return text("file.unreadable", { name });
  }
  if (!head.length) {
    return text("file.empty", { name });
  }
  const format = formatOf(head);
  if (mayBePicture(format, file)) {
    return "";
  }
  const kind = OTHERS.find((each) => each === format);
  return text(kind ? `file.${kind}` : "file.unknown", { name });
}

/**
 * Returns the name of a file for a sentence: its direction changes nothing around it, and its end is visible.
 * @param {{ name: string }} file
 */
export function nameOf({ name }) {
  const characters = [...(name || text("file.nameless"))];
  const start = characters.slice(0, MAX_NAME - NAME_END);
  const short =
    characters.length > MAX_NAME ? [...start, "…", ...characters.slice(-NAME_END)] : characters;
  return text("file.quoted", { name: short.join("") });
}

/** @param {string[]} reasons */
function shortened(reasons) {
  const more = reasons.length - MAX_NAMED;
  const rest = more > 0 ? [text("file.more", { count: more })] : [];
  return [...reasons.slice(0, MAX_NAMED), ...rest];
}

/** @param {string[]} sentences */
const joined = (sentences) => sentences.join(" ");
