// The picture of a profile: choice by button, camera, paste or drop; crop; upload with progress.

import { firstPicture, filesOf, nameOf } from "./demo-files.js";
import { attempt, clearProblems, find, notify } from "./demo-page.js";

/** @import { Crop, Progress, UploadOptions } from "./persona-profile.js" */
/** @typedef {{ file: Blob, crop?: Crop, note?: string }} Chosen */

const PHASES = {
  reducing: "Making the picture smaller…",
  uploading: "Uploading…",
  processing: "Preparing the picture…",
};
/** Errors after which the same file may be uploaded again. */
const REPEATABLE = ["retry", "wait", "report"];

export class PictureEditor {
  #root;
  #options;
  /** @type {AbortController | null} */
  #upload = null;
  /** @type {Promise<void> | null} The choice under way, until its upload has ended. */
  #choosing = null;
  #uses = 0;
  /** @type {Chosen | null} The picture to upload again. */
  #last = null;

  /**
   * @param {HTMLElement} root `.picture` of the template
   * @param {object} options
   * @param {import("./demo-crop.js").Cropper} options.cropper
   * @param {(file: Blob, options: UploadOptions) => Promise<void>} options.upload
   * @param {() => Promise<void>} options.remove
   */
  constructor(root, options) {
    this.#root = root;
    this.#options = options;
    for (const name of ["picture", "camera"]) {
      const input = find(root, `[name=${name}]`, HTMLInputElement);
      input.addEventListener("change", () => {
        // Emptied afterwards, so that the same file can be chosen again.
        this.use(filesOf(input.files)).finally(() => {
          input.value = "";
        });
      });
    }
    this.#find("[data-action=retry-picture]").addEventListener(
      "click",
      () => this.#last && this.#send(this.#last),
    );
    this.#find("[data-action=cancel-picture]").addEventListener("click", () => this.#upload?.abort());
    this.#find("[data-action=remove-picture]").addEventListener("click", () => this.#remove());
  }

  /** @param {string} selector */
  #find(selector) {
    return find(this.#root, selector);
  }

  get busy() {
    return this.#root.getAttribute("aria-busy") === "true";
  }

  /**
   * Uses the first picture of some files, or shows why there is none. In the cropper it replaces the picture
   * before; during an upload it waits for the person to decide.
   * @param {import("./demo-files.js").Given[]} given
   */
  async use(given) {
    if (!given.length) {
      return;
    }
    const use = (this.#uses += 1);
    const { file, text } = await firstPicture(given);
    const { cropper } = this.#options;
    if (file && cropper.isOpen) {
      await cropper.cancel();
      await this.#choosing;
    }
    if (use !== this.#uses) {
      return; // a later one is used
    }
    if (!file && cropper.isOpen) {
      cropper.note = text;
    } else if (!file && !this.busy) {
      clearProblems(this.#root);
      this.#find(".problem").textContent = text;
    } else if (!file) {
      notify(text, "error");
    } else if (this.#choosing || this.busy) {
      const wait = "Wait until it is saved, or cancel it first.";
      notify(`${nameOf(file)} is not used: another picture is being uploaded. ${wait}`, "error");
    } else {
      cropper.note = text;
      this.#root.dataset.file = nameOf(file);
      this.#choosing = this.choose(file).finally(() => {
        this.#choosing = null;
      });
      notify(text);
      await this.#choosing;
    }
  }

  /**
   * Lets the person choose a square and uploads it. A file that the browser can't decode is uploaded as it is.
   * @param {Blob} file
   */
  async choose(file) {
    if (this.busy || document.querySelector("dialog[open]")) {
      return;
    }
    clearProblems(this.#root);
    let crop;
    try {
      crop = await this.#options.cropper.choose(file);
    } catch (error) {
      if (error.name !== "EncodingError") {
        throw error;
      }
      await this.#send({ file, note: "This browser can’t show this file, so its centre was used." });
      return;
    }
    if (crop) {
      await this.#send({ file, crop });
    }
  }

  /** @param {Chosen} chosen */
  async #send(chosen) {
    this.#last = chosen;
    this.#find("[data-action=retry-picture]").hidden = true;
    this.#upload = new AbortController();
    const { signal } = this.#upload;
    const failure = await attempt(this.#root, async () => {
      this.#show({ phase: "reducing", sent: 0, total: 0 });
      const onProgress = this.#show.bind(this);
      await this.#options.upload(chosen.file, { crop: chosen.crop, onProgress, signal });
      notify(["The picture is saved.", chosen.note].filter(Boolean).join(" "));
    });
    const hadFocus = this.#find(".progress").contains(document.activeElement);
    this.#find(".progress").hidden = true;
    this.#find(".phase").textContent = "";
    const repeatable = failure !== null && REPEATABLE.includes(failure.action);
    this.#find("[data-action=retry-picture]").hidden = !repeatable;
    this.#last = repeatable ? chosen : null;
    if (hadFocus) {
      this.#find(repeatable ? "[data-action=retry-picture]" : "[name=picture]").focus();
    }
  }

  /** @param {Progress} progress */
  #show({ phase, sent, total }) {
    const bar = find(this.#root, "progress", HTMLProgressElement);
    const part = phase === "uploading" && total ? sent / total : null;
    if (part === null) {
      bar.removeAttribute("value");
    } else {
      bar.value = part;
    }
    this.#find(".percent").textContent = part === null ? "" : `${Math.floor(part * 100)} %`;
    // Written only when it changes, because it is announced.
    if (this.#find(".phase").textContent !== PHASES[phase]) {
      this.#find(".phase").textContent = PHASES[phase];
    }
    this.#find(".progress").hidden = false;
  }

  #remove() {
    return attempt(this.#root, async () => {
      this.#find("[data-action=retry-picture]").hidden = true;
      await this.#options.remove();
      this.#find("[name=picture]").focus();
      notify("The picture is removed.");
    });
  }
}
