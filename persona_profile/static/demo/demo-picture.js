// The picture of a profile: chosen by button, camera, paste or drop; cropped; uploaded with progress.

import { attempt, clearProblems, say } from "./demo-page.js";

const PHASES = {
  reducing: "Making the picture smaller…",
  uploading: "Uploading…",
  processing: "Preparing the picture…",
};
/** What the person can do about it without choosing another file. */
const REPEATABLE = ["retry", "wait", "report"];

/** The first picture among what was pasted or dropped. */
export function pictureOf(transfer) {
  const files = [...(transfer?.files ?? [])];
  // Browsers know no type for some pictures (HEIC): what has none may be one, and the server looks.
  return files.find(({ type }) => type.startsWith("image/")) ?? files.find(({ type }) => !type);
}

export class PictureEditor {
  #root;
  #options;
  #upload = null;
  /** What to try again with. */
  #last = null;

  /**
   * @param {HTMLElement} root the part of the page, as in the template
   * @param {object} options
   * @param {import("./demo-crop.js").Cropper} options.cropper
   * @param {(file: Blob, options: object) => Promise<void>} options.upload puts the picture into the profile
   * @param {() => Promise<void>} options.remove takes it out
   */
  constructor(root, options) {
    this.#root = root;
    this.#options = options;
    for (const input of root.querySelectorAll("[type=file]")) {
      input.addEventListener("change", () => {
        const [file] = input.files;
        if (file) {
          this.choose(file).finally(() => {
            input.value = "";
          });
        }
      });
    }
    this.#find("[data-action=retry-picture]").addEventListener("click", () => this.#send(this.#last));
    this.#find("[data-action=cancel-picture]").addEventListener("click", () => this.#upload?.abort());
    this.#find("[data-action=remove-picture]").addEventListener("click", () => this.#remove());
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }

  get busy() {
    return this.#root.getAttribute("aria-busy") === "true";
  }

  /** Asks for the square, and uploads it; a file that the browser can't show goes up as it is. */
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
      await this.#send({ file, note: "This browser can’t show this file, so its centre was taken." });
      return;
    }
    if (crop) {
      await this.#send({ file, crop });
    }
  }

  async #send(chosen) {
    this.#last = chosen;
    this.#find("[data-action=retry-picture]").hidden = true;
    this.#upload = new AbortController();
    const { signal } = this.#upload;
    const failure = await attempt(this.#root, async () => {
      this.#show({ phase: "reducing" });
      const onProgress = (progress) => this.#show(progress);
      await this.#options.upload(chosen.file, { crop: chosen.crop, onProgress, signal });
      say(["The picture is saved.", chosen.note].filter(Boolean).join(" "));
    });
    const hadFocus = this.#find(".progress").contains(document.activeElement);
    this.#find(".progress").hidden = true;
    this.#find(".phase").textContent = "";
    const repeatable = REPEATABLE.includes(failure?.action);
    this.#find("[data-action=retry-picture]").hidden = !repeatable;
    this.#last = repeatable ? chosen : null;
    if (hadFocus) {
      this.#find(repeatable ? "[data-action=retry-picture]" : "[name=picture]").focus();
    }
  }

  #show({ phase, sent, total }) {
    const bar = this.#find("progress");
    const part = phase === "uploading" && total ? sent / total : null;
    if (part === null) {
      bar.removeAttribute("value");
    } else {
      bar.value = part;
    }
    this.#find(".percent").textContent = part === null ? "" : `${Math.floor(part * 100)} %`;
    // Written only when it changes: it is read out.
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
      say("The picture is removed.");
    });
  }
}
