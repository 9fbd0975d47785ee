// The picture of a profile: choice by button, camera, paste or drop; crop; upload with progress.

import { firstPicture, filesOf, nameOf } from "./demo-files.js";
import { attempt, clearProblems, find, notify, report } from "./demo-page.js";
import { percent, text as textOf } from "./demo-texts.js";

/** @import { Crop, Progress, SendOptions, UploadOptions } from "./persona-profile.js" */

/** @typedef {Record<Progress["phase"], import("./demo-texts.js").Key>} Phases */

/** @type {Phases} */
const PHASES = {
  reducing: "picture.reducing",
  uploading: "picture.uploading",
  processing: "picture.preparing",
};
/** @type {Phases} */
const PREVIEW_PHASES = {
  ...PHASES,
  uploading: "picture.uploading_view",
  processing: "picture.preparing_view",
};
/** @type {Phases} */
const STALLED_PHASES = {
  ...PHASES,
  uploading: "picture.slow",
  processing: "picture.slow_preparing",
};
/** Errors after which the same file may be uploaded again. */
const REPEATABLE = ["retry", "wait", "report"];

export class PictureEditor {
  #root;
  #options;
  /** @type {AbortController | null} */
  #upload = null;
  /** @type {(() => Promise<unknown>) | null} The failed step, to try again. */
  #again = null;
  /** @type {Promise<void> | null} The choice under way, until its upload has ended. */
  #choosing = null;
  #uses = 0;

  /**
   * @param {HTMLElement} root `.picture` of the template
   * @param {object} options
   * @param {import("./demo-crop.js").Cropper} options.cropper
   * @param {(file: Blob, options: SendOptions) => Promise<Blob>} options.preview
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
    this.#find("[data-action=retry-picture]").addEventListener("click", () => this.#again?.());
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

  /** Removes an error after the person went on, unless it belongs to a button to try again. */
  settle() {
    if (!this.#again) {
      clearProblems(this.#root);
    }
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
      notify(textOf("picture.only_one", { name: nameOf(file) }), "error");
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
   * Lets the person choose a square and uploads it. The server shows a file that the browser can't decode.
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
      await this.#choosePreviewed(file);
      return;
    }
    if (crop) {
      await this.#send(file, crop);
    }
  }

  /** @param {Blob} file that only the server can decode */
  async #choosePreviewed(file) {
    /** @type {Blob | null} */
    let preview = null;
    await this.#transfer(
      PREVIEW_PHASES,
      () => this.#choosePreviewed(file),
      async (options) => {
        preview = await this.#options.preview(file, options);
      },
    );
    if (!preview) {
      return;
    }
    const crop = await this.#options.cropper.choose(preview).catch((error) => {
      report(error, this.#root);
      return null;
    });
    if (crop) {
      await this.#send(file, crop);
    }
  }

  /**
   * @param {Blob} file
   * @param {Crop} crop
   * @returns {Promise<void>}
   */
  #send(file, crop) {
    return this.#transfer(
      PHASES,
      () => this.#send(file, crop),
      async (options) => {
        this.#show({ phase: "reducing", sent: 0, total: 0 });
        await this.#options.upload(file, { crop, ...options });
        notify(textOf("picture.saved"));
      },
    );
  }

  /**
   * Sends a file with progress and a button to cancel; after an error that may pass, with one to try again.
   * @param {Phases} phases
   * @param {() => Promise<unknown>} again
   * @param {(options: SendOptions) => Promise<void>} work
   */
  async #transfer(phases, again, work) {
    this.#again = null;
    this.#find("[data-action=retry-picture]").hidden = true;
    this.#upload = new AbortController();
    const { signal } = this.#upload;
    const onProgress = (/** @type {Progress} */ progress) => this.#show(progress, phases);
    const failure = await attempt(this.#root, () => work({ onProgress, signal }));
    const hadFocus = this.#find(".progress").contains(document.activeElement);
    this.#find(".progress").hidden = true;
    this.#find(".phase").textContent = "";
    const repeatable = failure !== null && REPEATABLE.includes(failure.action);
    this.#find("[data-action=retry-picture]").hidden = !repeatable;
    this.#again = repeatable ? again : null;
    if (hadFocus) {
      this.#find(repeatable ? "[data-action=retry-picture]" : "[name=picture]").focus();
    }
  }

  /** @param {Progress} progress */
  #show({ phase, sent, total, stalled }, phases = PHASES) {
    const bar = find(this.#root, "progress", HTMLProgressElement);
    const part = phase === "uploading" && total ? sent / total : null;
    if (part === null) {
      bar.removeAttribute("value");
    } else {
      bar.value = part;
    }
    this.#find(".percent").textContent = part === null ? "" : percent(Math.floor(part * 100) / 100);
    const text = textOf((stalled ? STALLED_PHASES : phases)[phase]);
    // Written only when it changes, because it is announced.
    if (this.#find(".phase").textContent !== text) {
      this.#find(".phase").textContent = text;
    }
    this.#find(".progress").hidden = false;
  }

  #remove() {
    return attempt(this.#root, async () => {
      this.#find("[data-action=retry-picture]").hidden = true;
      await this.#options.remove();
      this.#find("[name=picture]").focus();
      notify(textOf("picture.removed"));
    });
  }
}
