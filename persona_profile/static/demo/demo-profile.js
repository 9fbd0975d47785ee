// One profile, to look at and to change.

import { monogram } from "./persona-card.js";
import { explain } from "./persona-messages.js";
import { ask, attempt, byId, clearProblems, report, say } from "./demo-page.js";
import { PictureEditor, pictureOf } from "./demo-picture.js";

const LOCKED = ["profile_key_required", "profile_key_wrong"];

/** What is known of a profile before the server has answered. */
export const nothing = (email) => ({ email, picture: null, updated_at: null, version: 0 });

export class ProfilePanel {
  #client;
  #options;
  #profile;
  #picture;

  /**
   * @param {string} email
   * @param {object} options
   * @param {import("./persona-profile.js").ProfileClient} options.client
   * @param {import("./demo-crop.js").Cropper} options.cropper
   * @param {(profile: object) => void} options.onChange the server has another state
   * @param {(email: string) => void} options.onErase everything is gone
   * @param {(email: string, key: string) => Promise<void>} options.onUnlock a key was typed
   */
  constructor(email, options) {
    this.email = email;
    this.element = byId("profile-template").content.firstElementChild.cloneNode(true);
    this.element.dataset.email = email;
    this.#client = options.client;
    this.#options = options;
    this.#picture = new PictureEditor(this.#find(".picture"), {
      cropper: options.cropper,
      upload: (file, settings) => this.#upload(file, settings),
      remove: async () => options.onChange(await this.#client.removePicture(email)),
    });
    this.#listen();
    this.show(nothing(email));
  }

  /** What is shown; has no `etag` before the server has answered for the first time. */
  get profile() {
    return this.#profile;
  }

  get busy() {
    return this.#picture.busy || this.element.querySelector("[aria-busy=true]") !== null;
  }

  #find(selector) {
    return this.element.querySelector(selector);
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
    const unlock = this.#find(".unlock");
    unlock.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(unlock, () =>
        this.#options.onUnlock(this.email, unlock.elements.profile_key.value.trim()),
      );
    });
    const footer = this.#find("footer");
    const actions = { "take-away": () => this.#takeAway(), erase: () => this.#erase() };
    for (const [action, work] of Object.entries(actions)) {
      footer
        .querySelector(`[data-action=${action}]`)
        .addEventListener("click", () => attempt(footer, work));
    }
    this.#find("img").addEventListener("error", (event) => {
      event.target.hidden = true;
    });
    this.#listenForDrops();
  }

  #listenForDrops() {
    // Entering a child is reported before leaving its parent: only a count tells when all is left.
    let within = 0;
    const mark = (change) => {
      within = change === 0 ? 0 : within + change;
      this.element.classList.toggle("dropping", within > 0);
    };
    const hasFiles = ({ dataTransfer }) => dataTransfer.types.includes("Files") && !this.locked;
    this.element.addEventListener("dragenter", (event) => hasFiles(event) && mark(1));
    this.element.addEventListener("dragleave", (event) => hasFiles(event) && mark(-1));
    this.element.addEventListener("drop", (event) => {
      mark(0);
      this.take(event.dataTransfer);
    });
  }

  /** Whether only the person's own key opens it. */
  get locked() {
    return Boolean(this.#profile.error);
  }

  /** Takes the picture that was pasted or dropped, if there is one and it has a place. */
  take(transfer) {
    const file = pictureOf(transfer);
    if (file && !this.locked) {
      this.#picture.choose(file);
    }
  }

  /** Shows a profile; what was typed and not saved stays. */
  show(profile) {
    const previous = this.#profile;
    this.#profile = profile;
    const { email, label, nickname, pronouns, picture, error } = profile;
    const title = profile.name ?? nickname ?? email.split("@")[0];
    const website = profile.website?.replace(/^https:\/\/|\/$/g, "");
    const parts = { title, email, label, pronouns, website, updated: this.#status() };
    parts.nickname = nickname === title ? null : nickname;
    parts["picture-action"] = picture ? "Change picture" : "Add a picture";
    for (const [part, text] of Object.entries(parts)) {
      const element = this.#find(`[data-show=${part}]`);
      element.textContent = text ?? "";
      element.hidden = !text;
    }
    if (profile.website?.startsWith("https://")) {
      this.#find("[data-show=website]").href = profile.website;
    }
    const { text, hue } = monogram(email, profile.name ?? nickname);
    this.element.style.setProperty("--hue", hue);
    this.element.setAttribute("aria-label", `Profile of ${email}`);
    this.#find(".portrait .monogram").textContent = text;
    this.#find("[data-action=remove-picture]").hidden = !picture;
    this.#find(".unlock").hidden = !LOCKED.includes(error);
    this.#find(".picture").hidden = this.#find(".editor").hidden = this.locked;
    this.#showPicture(previous?.picture);
    this.#fillForm(previous);
  }

  #status() {
    const { error, etag, updated_at: updated } = this.#profile;
    if (error) {
      return explain({ code: error }).text;
    }
    if (!updated) {
      return etag ? "Nothing stored yet" : "Waiting for the profile server…";
    }
    const format = { dateStyle: "medium", timeStyle: "short" };
    return `Changed ${new Date(updated).toLocaleString("en", format)}`;
  }

  /** The thumbnail came with the profile, so that no request is needed where it is sharp enough. */
  #showPicture(previous) {
    const { picture, picture_alt: alternative } = this.#profile;
    const image = this.#find("img");
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
    const { thumbnail } = picture;
    const sources = thumbnail ? { ...urls, [this.#options.thumbnailSize]: thumbnail } : urls;
    image.hidden = false;
    image.srcset = Object.entries(sources)
      .map(([size, url]) => `${url} ${size}w`)
      .join(", ");
    image.src = thumbnail ?? urls[256] ?? Object.values(urls)[0] ?? "";
  }

  /** Fills in the profile, but for the fields in which something else than `previous` was typed. */
  #fillForm(previous) {
    for (const input of this.element.querySelectorAll(".claims input")) {
      if (!previous || input.value === (previous[input.name] ?? "")) {
        input.value = this.#profile[input.name] ?? "";
      }
    }
  }

  #closeForm() {
    this.#fillForm(null);
    const editor = this.#find(".editor");
    editor.open = false;
    editor.querySelector("summary").focus();
  }

  async #save() {
    const changes = {};
    for (const { name, value } of this.element.querySelectorAll(".claims input")) {
      if (value !== (this.#profile[name] ?? "")) {
        changes[name] = value || null;
      }
    }
    if (Object.keys(changes).length) {
      try {
        const { etag } = this.#profile;
        this.#options.onChange(await this.#client.update(this.email, changes, etag ? { etag } : {}));
      } catch (error) {
        if (error.code === "precondition_failed" && error.current) {
          this.#options.onChange(error.current);
        }
        throw error;
      }
    }
    this.#closeForm();
    say("Saved.");
  }

  async #upload(file, settings) {
    if (!settings.crop) {
      // It goes as it is: nobody shall wait for an upload that is refused at its end.
      const limit = (await this.#client.service(settings)).limits?.picture_bytes;
      if (file.size > limit) {
        throw Object.assign(new Error("Larger than the server takes."), {
          code: "body_too_large",
          limit,
        });
      }
    }
    this.#options.onChange(await this.#client.uploadPicture(this.email, file, settings));
  }

  async #takeAway() {
    const archive = await this.#client.export(this.email);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(archive);
    link.download = `profile-${this.email}.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say("Your data is in your downloads.");
  }

  async #erase() {
    byId("confirm-email").textContent = this.email;
    if ((await ask(byId("confirm"))) !== "erase") {
      return;
    }
    await this.#client.remove(this.email);
    this.#options.onErase(this.email);
    this.#fillForm(null);
    this.#find("h2").focus();
    say(`Everything about ${this.email} is erased.`);
    // The state after: read for its etag, which the next change is made from.
    this.#client
      .profile(this.email)
      .then(this.#options.onChange, (error) => report(error, this.#find("footer")));
  }
}
