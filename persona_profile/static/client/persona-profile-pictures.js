// Starts the reduction of a picture: in a worker, or on the thread of the page.

import { ProfileError, aborted } from "./persona-profile-transport.js";

/** @import { reduce as declaredReduce } from "./persona-profile.js" */
/** @import * as types from "./persona-profile-internals.js" */

const MAX_REDUCING_MS = 60_000;

/** @type {types.WholePixels} Rounds a crop down: it stays inside of its picture. */
export const wholePixels = ({ left, top, side, of }) => ({
  left: Math.trunc(left),
  top: Math.trunc(top),
  side: Math.trunc(side),
  ...(of && { of: { width: atLeastOne(of.width), height: atLeastOne(of.height) } }),
});

/** @param {number} length */
const atLeastOne = (length) => Math.max(1, Math.round(length));

/** @type {types.CropQuery} Returns the query of an upload with a crop. */
export function cropQuery(crop) {
  const { left, top, side, of } = wholePixels(crop);
  return `?crop=${left},${top},${side}${of ? `&of=${of.width}x${of.height}` : ""}`;
}

/** @param {Blob} file */
export async function demandReadable(file) {
  try {
    await (file.size ? file.slice(0, 1) : file).arrayBuffer();
  } catch (cause) {
    throw new ProfileError("file_unreadable", "The file was moved, changed or deleted.", { cause });
  }
}

/** @type {typeof declaredReduce} */
export async function reduce(file, crop = null, signal) {
  const end = new AbortController();
  /** @type {Promise<never>} */
  const stopped = new Promise((_, reject) => {
    const stop = () => reject(aborted());
    signal?.addEventListener("abort", stop, { signal: end.signal });
    if (signal?.aborted) {
      stop();
    }
  });
  /** @type {Promise<void>} */
  const late = new Promise((resolve) => {
    const timer = setTimeout(resolve, MAX_REDUCING_MS);
    end.signal.addEventListener("abort", () => clearTimeout(timer));
  });
  const square = crop && wholePixels(crop);
  const job = demandReadable(file).then(() => reduceInWorker(file, square, end.signal));
  try {
    return (await Promise.race([stopped, job, late])) ?? { blob: file, side: null };
  } finally {
    end.abort();
  }
}

/** @type {types.ReduceUntil} Runs on this thread where no worker starts. */
async function reduceInWorker(file, crop, signal) {
  if (signal.aborted) {
    return null;
  }
  let worker;
  try {
    // Literals: bundlers read them.
    worker = new Worker(new URL("./persona-profile-reduction.js", import.meta.url), {
      type: "module",
      name: "persona-profile-reduction",
    });
  } catch {
    return reduceHere(file, crop); // these modules come from another origin
  }
  signal.addEventListener("abort", () => worker.terminate());
  /** @type {ReturnType<types.Reduce>} */
  const done = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = worker.onmessageerror = reject; // a policy of the page forbids it
  });
  worker.postMessage({ file, crop });
  return done.catch((event) => {
    event.preventDefault();
    return signal.aborted ? null : reduceHere(file, crop);
  });
}

/** @type {types.Reduce} */
async function reduceHere(file, crop) {
  try {
    const { reducePicture } = await import("./persona-profile-reduction.js");
    return await reducePicture(file, crop);
  } catch {
    return null;
  }
}
