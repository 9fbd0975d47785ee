// The panel of one profile, to read and to change.

import { monogram } from "./persona-card.js";
import { ProfileError } from "./persona-profile.js";
import { attempt, byId, clearProblems, find, notify, openDialog, report } from "./demo-page.js";
import { filesOf } from "./demo-files.js";
import { ProfileKeys } from "./demo-keys.js";
import { PictureEditor } from "./demo-picture.js";
import { Suggestion } from "./demo-suggestion.js";
import { dateAndTime, explained, removalOf, text } from "./demo-texts.js";

/** @import { Claims, Profile, ProfileClient, SendOptions, UploadOptions } from "./persona-profile.js" */

/**
 * Returns a blank profile, to be shown before the server has answered.
 * @param {string} email
 * @returns {Profile}
 */
export const blank = (email) =>
  /** @type {any} */ ({ email, picture: null, updated_at: null, version: 0, etag: "" });

export class ProfilePanel {
  #client;
  #options;
  /** @type {Profile} */
  #profile;
  #picture;
  #suggestion;
  #keys;

  /**
   * @param {string} email
   * @param {object} options
   * @param {ProfileClient} options.client
   * @param {import("./demo-crop.js").Cropper} options.cropper
   * @param {number} options.thumbnailSize
   * @param {(profile: Profile) => void} options.onChange with the new state of the server
   * @param {() => void} options.onErase
   * @param {(key: string) => Promise<void>} options.onUnlock with the key that was entered
   */
  constructor(email, options) {
    this.email = email;
    const template = byId("profile-template", HTMLTemplateElement);
    this.element = /** @type {HTMLElement} */ (find(template.content, "article").cloneNode(true));
    this.element.dataset.email = email;
    this.#client = options.client;
    this.#options = options;
    this.#picture = new PictureEditor(this.#find(".picture"), {
      cropper: options.cropper,
      upload: (file, settings) => this.#upload(file, settings),
      preview: (file, settings) => this.#preview(file, settings),
      remove: async () => this.#changed(await this.#client.removePicture(email)),
    });
    this.#suggestion = new Suggestion(this.#find(".suggestion"), {
      take: (profile) => this.#client.takeSuggestions(profile),
      onChange: options.onChange,
      onEnd: () => this.#find("h2").focus(),
    });
    this.#keys = new ProfileKeys(this.element, { ...options, email });
    this.#profile = blank(email);
    this.#listen();
    this.show(this.#profile);
  }

  /** The profile in the panel; its `etag` is empty before the server's first answer. */
  get profile() {
    return this.#profile;
  }

  get busy() {
    return this.#picture.busy || this.element.querySelector("[aria-busy=true]") !== null;
  }

  /**
   * @template {HTMLElement} [Kind=HTMLElement]
   * @param {string} selector
   * @param {new () => Kind} [kind]
   */
  #find(selector, kind) {
    return find(this.element, selector, kind);
  }

  #listen() {
    const claims = this.#find(".claims");
    claims.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(claims, () => this.#save());
    });
    claims.addEventListener("reset", (event) => {
      event.preventDefault();
      clearProblems(claims);
      this.#closeForm();
    });
    const footer = this.#find("footer");
    const actions = { export: () => this.#export(), erase: () => this.#erase() };
    for (const [action, work] of Object.entries(actions)) {
      const button = find(footer, `[data-action=${action}]`);
      button.addEventListener("click", () => attempt(footer, work));
    }
    const image = this.#find("img");
    image.addEventListener("error", () => {
      image.hidden = true;
    });
    image.addEventListener("load", () => image.classList.add("loaded"));
    this.#listenForDrops();
  }

  #listenForDrops() {
    // A child is entered before its parent is left, so only a count shows when the pointer has left all.
    let within = 0;
    const mark = (/** @type {number} */ change) => {
      within = change === 0 ? 0 : within + change;
      this.element.classList.toggle("dropping", within > 0);
    };
    const hasFiles = (/** @type {DragEvent} */ { dataTransfer }) =>
      dataTransfer?.types.includes("Files") && this.#takesPictures;
    this.element.addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
    this.element.addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
    this.element.addEventListener("drop", (event) => {
      mark(0);
      this.usePicture(event.dataTransfer);
    });
  }

  /** Whether only the person's own key opens it. */
  get locked() {
    return Boolean(this.#profile.error);
  }

  /** Whether the profile is open, and no operator has locked it for pictures. */
  get #takesPictures() {
    return !this.locked && !this.#profile.picture_removal?.locked_until;
  }

  /**
   * Uses the picture that was pasted or dropped, if the profile takes one.
   * @param {DataTransfer | null} transfer
   */
  usePicture(transfer) {
    if (this.#takesPictures) {
      this.#picture.use(filesOf(transfer));
    }
  }

  /**
   * Shows a profile; unsaved input stays.
   * @param {Profile} profile
   */
  show(profile) {
    const previous = this.#profile;
    this.#profile = profile;
    const { email, label, nickname, pronouns, picture } = profile;
    const title = profile.name ?? nickname ?? email.split("@")[0];
    const website = profile.website?.replace(/^https:\/\/|\/$/g, "");
    const parts = {
      title,
      email,
      label,
      pronouns,
      website,
      updated: this.#status(),
      removal: removalOf(profile),
      nickname: nickname === title ? null : nickname,
      "picture-action": text(picture ? "picture.change" : "picture.add"),
    };
    for (const [part, value] of Object.entries(parts)) {
      const element = this.#find(`[data-show=${part}]`);
      element.textContent = value ?? "";
      element.hidden = !value;
    }
    if (profile.website?.startsWith("https://")) {
      this.#find("[data-show=website]", HTMLAnchorElement).href = profile.website;
    }
    const { text: initials, hue } = monogram(email, profile.name ?? nickname);
    this.element.style.setProperty("--hue", String(hue));
    this.element.setAttribute("aria-label", text("profile.of", { email }));
    this.#find(".portrait .monogram").textContent = initials;
    this.#find("[data-action=remove-picture]").hidden = !picture;
    this.#keys.show(profile);
    this.#find(".picture").hidden = !this.#takesPictures;
    this.#find(".editor").hidden = this.locked;
    this.#suggestion.show(profile);
    this.#showPicture(previous.picture);
    this.#fillForm(previous);
  }

  #status() {
    const { error, etag, updated_at: updated } = this.#profile;
    if (error) {
      return explained({ code: error }).text;
    }
    if (!updated) {
      return text(etag ? "profile.blank" : "profile.waiting");
    }
    return text("profile.changed", { when: dateAndTime(updated) });
  }

  /**
   * Shows the picture. The thumbnail is part of the profile, so it needs no request where it is sharp enough.
   * @param {Profile["picture"]} previous
   */
  #showPicture(previous) {
    const { picture, picture_alt: alternative } = this.#profile;
    const image = this.#find("img", HTMLImageElement);
    image.alt = alternative ?? "";
    if (!picture) {
      image.hidden = true;
      image.removeAttribute("src");
      image.removeAttribute("srcset");
      return;
    }
    const urls = picture.urls ?? {};
    const known = previous?.id === picture.id && Object.keys(previous.urls ?? {}).length;
    if (known && !image.hidden) {
      return;
    }
    image.classList.remove("loaded");
    const { thumbnail } = picture;
    const sources = thumbnail ? { ...urls, [this.#options.thumbnailSize]: thumbnail } : urls;
    image.hidden = false;
    image.srcset = Object.entries(sources)
      .map(([size, url]) => `${url} ${size}w`)
      .join(", ");
    image.src = thumbnail ?? urls["256"] ?? Object.values(urls)[0] ?? "";
  }

  /**
   * Fills the form, except fields that were changed since `previous`.
   * @param {Profile | null} previous null to fill every field
   */
  #fillForm(previous) {
    for (const { input, name } of this.#inputs()) {
      if (!previous || input.value === (previous[name] ?? "")) {
        input.value = this.#profile[name] ?? "";
      }
    }
  }

  #inputs() {
    return Array.from(this.element.querySelectorAll(".claims input"), (element) => {
      const input = /** @type {HTMLInputElement} */ (element);
      return { input, name: /** @type {keyof Claims} */ (input.name) };
    });
  }

  /**
   * Shows the answer to a change. Errors of earlier actions are over, but for those of the form, whose input stays.
   * @param {Profile} profile
   */
  #changed(profile) {
    this.#picture.settle();
    clearProblems(this.#find("footer"));
    this.#options.onChange(profile);
  }

  #closeForm() {
    this.#fillForm(null);
    const editor = this.#find(".editor", HTMLDetailsElement);
    editor.open = false;
    find(editor, "summary").focus();
  }

  async #save() {
    /** @type {Partial<Claims>} */
    const changes = {};
    for (const { input, name } of this.#inputs()) {
      if (input.value !== (this.#profile[name] ?? "")) {
        changes[name] = input.value || null;
      }
    }
    if (Object.keys(changes).length) {
      try {
        const { etag } = this.#profile;
        this.#changed(await this.#client.update(this.email, changes, etag ? { etag } : {}));
      } catch (error) {
        if (error.code === "precondition_failed" && error.current) {
          this.#options.onChange(error.current);
        }
        throw error;
      }
    }
    this.#closeForm();
    notify(text("editor.saved"));
  }

  /**
   * @param {Blob} file
   * @param {SendOptions} settings
   */
  async #preview(file, settings) {
    // The file is sent as it is: its size is checked before a long upload that the server would reject.
    const { limits } = /** @type {any} */ (await this.#client.service({ signal: settings.signal }));
    const limit = limits?.picture_bytes;
    if (file.size > limit) {
      throw new ProfileError("body_too_large", "Larger than the limit of the server.", { limit });
    }
    return this.#client.previewPicture(this.email, file, settings);
  }

  /**
   * @param {Blob} file
   * @param {UploadOptions} settings
   */
  async #upload(file, settings) {
    this.#changed(await this.#client.uploadPicture(this.email, file, settings));
  }

  async #export() {
    const archive = await this.#client.export(this.email);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(archive);
    link.download = `profile-${this.email}.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    notify(text("export.done"));
  }

  async #erase() {
    byId("confirm-email").textContent = this.email;
    if ((await openDialog(byId("confirm", HTMLDialogElement))) !== "erase") {
      return;
    }
    await this.#client.remove(this.email);
    this.#picture.settle();
    this.#options.onErase();
    this.#fillForm(null);
    this.#find("h2").focus();
    notify(text("erase.done", { email: this.email }));
    // Read again for the etag, on which the next change is based.
    this.#client
      .profile(this.email)
      .then(this.#options.onChange, (error) => report(error, this.#find("footer")));
  }
}
