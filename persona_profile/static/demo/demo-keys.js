// The keys of a protected profile: a passkey, a recovery code, and more of them.

import { createPasskey, support, usePasskey } from "./persona-passkey.js";
import { newRecoveryCode, useRecoveryCode } from "./persona-recovery-code.js";
import { attempt, byId, find, notify, openDialog } from "./demo-page.js";
import { dateAndTime, text } from "./demo-texts.js";

/** @import { Profile, ProfileClient, ProfileKey } from "./persona-profile.js" */

const LOCKED = ["profile_key_required", "profile_key_wrong"];
const RAW_KEY = /^[\w-]{43}$/;
/** Identifiers of the passkeys that were made here: an authenticator needs no second one. */
const PASSKEYS = "persona-demo-passkeys";

export class ProfileKeys {
  #element;
  #client;
  #options;
  /** @type {Profile | null} */
  #profile = null;

  /**
   * @param {HTMLElement} element the panel of the profile
   * @param {object} options
   * @param {string} options.email
   * @param {ProfileClient} options.client
   * @param {(profile: Profile) => void} options.onChange with the new state of the server
   * @param {(key: string) => Promise<void>} options.onUnlock with the key that opens the profile
   */
  constructor(element, options) {
    this.#element = element;
    this.#client = options.client;
    this.#options = options;
    this.#listen();
    support().then((answer) => this.#showSupport(answer));
  }

  /** @param {Profile} profile */
  show(profile) {
    const isChanged = profile.etag !== this.#profile?.etag || profile.error !== this.#profile?.error;
    this.#profile = profile;
    this.#find(".unlock").hidden = !LOCKED.includes(profile.error ?? "");
    const section = this.#find(".protection", HTMLDetailsElement);
    section.hidden = Boolean(profile.error) || !profile.etag;
    find(section, "summary").textContent = text(profile.protected ? "protection.on" : "protection.off");
    find(section, ".unprotected").hidden = profile.protected;
    find(section, ".protected").hidden = !profile.protected;
    if (isChanged) {
      this.#showKeys([]);
      if (section.open) {
        this.#load();
      }
    }
  }

  /**
   * @template {HTMLElement} [Kind=HTMLElement]
   * @param {string} selector
   * @param {new () => Kind} [kind]
   */
  #find(selector, kind) {
    return find(this.#element, selector, kind);
  }

  #listen() {
    const unlock = this.#find(".unlock");
    unlock.addEventListener("submit", (event) => {
      event.preventDefault();
      const typed = find(unlock, "[name=profile_key]", HTMLInputElement).value.trim();
      attempt(unlock, async () => {
        await this.#options.onUnlock(RAW_KEY.test(typed) ? typed : await useRecoveryCode(typed));
      });
    });
    const unlocking = find(unlock, "[data-action=use-passkey]");
    unlocking.addEventListener("click", () =>
      attempt(unlock, async () => this.#options.onUnlock(await usePasskey())),
    );
    const section = this.#find(".protection");
    const actions = {
      "protect-passkey": () => this.#protect(() => this.#newPasskey()),
      "protect-existing": () => this.#protect(() => usePasskey()),
      "protect-code": () => this.#protectByCode(),
      "add-passkey": async () => this.#add(await this.#newPasskey()),
      "add-code": () => this.#addCode(),
      unprotect: () => this.#unprotect(),
    };
    for (const [action, work] of Object.entries(actions)) {
      const button = find(section, `[data-action=${action}]`);
      button.addEventListener("click", () => attempt(section, work));
    }
    section.addEventListener("toggle", () => this.#load());
  }

  /** @param {Awaited<ReturnType<typeof support>>} answer */
  #showSupport(answer) {
    const canAsk = answer === "supported" || answer === "unknown";
    for (const action of ["use-passkey", "protect-passkey", "protect-existing", "add-passkey"]) {
      this.#find(`[data-action=${action}]`).hidden = !canAsk;
    }
    this.#find(".no-passkeys").hidden = canAsk || answer === "address";
    this.#find(".address").hidden = answer !== "address";
    const link = this.#find(".address a", HTMLAnchorElement);
    link.href = `${location.protocol}//localhost${location.port && `:${location.port}`}/`;
    link.textContent = link.href;
  }

  async #newPasskey() {
    const exclude = made();
    const { email } = this.#options;
    const { profileKey, id } = await createPasskey({ name: email, service: text("brand"), exclude });
    localStorage.setItem(PASSKEYS, JSON.stringify([...exclude, id]));
    return profileKey;
  }

  /** @param {() => Promise<string>} ask for the key */
  async #protect(ask) {
    const { email } = this.#options;
    this.#options.onChange(await this.#client.setProfileKey(email, await ask()));
    const kept = await this.#offerCode();
    if (kept) {
      await this.#client.addProfileKey(email, kept);
    }
    await this.#load();
    notify(text(kept ? "protection.done" : "protection.code_missing"));
  }

  async #protectByCode() {
    const kept = await this.#offerCode();
    if (kept) {
      this.#options.onChange(await this.#client.setProfileKey(this.#options.email, kept));
      notify(text("protection.done"));
    }
  }

  async #addCode() {
    const kept = await this.#offerCode();
    if (kept) {
      await this.#add(kept);
    }
  }

  /** @param {string} key */
  async #add(key) {
    await this.#client.addProfileKey(this.#options.email, key);
    await this.#load();
    notify(text("key.added"));
  }

  async #unprotect() {
    this.#options.onChange(await this.#client.setProfileKey(this.#options.email, null));
    notify(text("protection.removed"));
  }

  /** Shows a new recovery code; returns its key if the person has kept it. */
  async #offerCode() {
    const { code, profileKey } = await newRecoveryCode();
    const dialog = byId("recovery", HTMLDialogElement);
    byId("recovery-email").textContent = this.#options.email;
    byId("recovery-code").textContent = code;
    byId("recovery-print").onclick = () => print();
    const answer = await openDialog(dialog);
    byId("recovery-code").textContent = "";
    return answer === "kept" ? profileKey : null;
  }

  /** Shows the keys, if they are to be seen. */
  async #load() {
    const section = this.#find(".protection", HTMLDetailsElement);
    const profile = this.#profile;
    if (!section.open || section.hidden || !profile?.protected) {
      return;
    }
    try {
      const keys = await this.#client.profileKeys(profile.email);
      if (this.#profile === profile) {
        this.#showKeys(keys);
      }
    } catch (error) {
      await attempt(section, () => Promise.reject(error));
    }
  }

  /** @param {ProfileKey[]} keys */
  #showKeys(keys) {
    const items = keys.map((key) => {
      const date = key.added_at ? dateAndTime(key.added_at) : "—";
      const item = document.createElement("li");
      const label = document.createElement("span");
      label.textContent = text("key.of", { date });
      const use = document.createElement("span");
      use.className = "hint";
      use.textContent = key.current ? text("key.current") : "";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      button.textContent = text("key.remove");
      button.setAttribute("aria-label", text("key.remove_of", { date }));
      button.addEventListener("click", () =>
        attempt(this.#find(".protection"), () => this.#remove(key)),
      );
      label.append(use);
      item.append(label, button);
      return item;
    });
    this.#find(".keys").replaceChildren(...items);
  }

  /** @param {ProfileKey} key */
  async #remove(key) {
    if ((await openDialog(byId("confirm-key", HTMLDialogElement))) !== "remove") {
      return;
    }
    const { email } = this.#options;
    await this.#client.removeProfileKey(email, key.id);
    notify(text("key.removed"));
    if (key.current) {
      // This session's key opens nothing any more.
      const locked = { email, picture: null, etag: "", protected: true, error: "profile_key_wrong" };
      this.#options.onChange(/** @type {Profile} */ (/** @type {unknown} */ (locked)));
    } else {
      await this.#load();
    }
  }
}

/** @returns {string[]} */
function made() {
  try {
    return JSON.parse(localStorage.getItem(PASSKEYS) ?? "[]");
  } catch {
    return [];
  }
}
