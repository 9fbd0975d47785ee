// The cards of a sign-in dialog: an element for one card, a cache, and a deck. persona-card.d.ts is the reference.

import { loadPicture } from "./persona-card-picture.js";
import { cardStyle } from "./persona-card-style.js";
import {
  aboutTexts,
  canonicalEmail,
  displayName,
  emailParts,
  monogram,
  visibleText,
} from "./persona-card-text.js";

export { CardCache } from "./persona-card-cache.js";
export { CardDeck } from "./persona-card-deck.js";
export { monogram };

/** @import * as declared from "./persona-card.js" */
/** @import { Profile } from "./persona-profile.js" */

const PATIENCE_MS = 800;
const PORTRAIT_SIDE = 64;
const MAX_NOTICE = 500;
/** A picture that is loaded this fast is part of the first paint: it does not fade in. */
const FIRST_PAINT_MS = 50;
/** Without a DOM, as in a renderer on a server, there are no elements, but the module can be imported. */
const BaseElement = globalThis.HTMLElement ?? /** @type {typeof HTMLElement} */ (class {});
const BOOLEANS = ["selected", "selectable", "disabled"];

/** @implements {declared.PersonaCard} */
export class PersonaCard extends BaseElement {
  static observedAttributes = ["email", "notice", ...BOOLEANS];

  #parts = makeParts();
  /** @type {Profile | null} */
  #profile = null;
  /** @type {declared.CardState} */
  #state = "pending";
  /** Answers are numbered in the order of their requests: an older answer never replaces a newer one. */
  #requested = 0;
  #shown = 0;
  #timer = 0;
  /** @type {HTMLImageElement | null} */
  #image = null;
  /** @type {string | null} The picture that is shown or loading. */
  #pictureId = null;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [cardStyle()];
    root.append(this.#parts.card);
    this.#parts.card.addEventListener("click", () => this.#choose());
  }

  connectedCallback() {
    // The page may have set these properties before this module was loaded.
    const properties = /** @type {Record<string, any>} */ (this);
    for (const name of ["email", "profile", "notice", ...BOOLEANS]) {
      if (Object.hasOwn(this, name)) {
        const value = properties[name];
        delete properties[name];
        properties[name] = value;
      }
    }
    this.#renderTexts();
    this.#renderButton();
  }

  /** @type {(name: string, before: string | null, now: string | null) => void} */
  attributeChangedCallback(name, before, now) {
    if (before === now) {
      return;
    }
    if (BOOLEANS.includes(name)) {
      this.#renderButton();
    } else if (name === "notice") {
      this.#renderTexts();
    } else if (before !== null && canonicalEmail(before) !== canonicalEmail(this.email)) {
      this.profile = null;
    } else {
      this.#renderTexts();
    }
  }

  get email() {
    return this.getAttribute("email") ?? "";
  }

  set email(email) {
    this.setAttribute("email", email);
  }

  get notice() {
    return this.getAttribute("notice") ?? "";
  }

  set notice(notice) {
    if (notice) {
      this.setAttribute("notice", notice);
    } else {
      this.removeAttribute("notice");
    }
  }

  get selected() {
    return this.hasAttribute("selected");
  }

  set selected(value) {
    this.toggleAttribute("selected", Boolean(value));
  }

  get selectable() {
    return this.hasAttribute("selectable");
  }

  set selectable(value) {
    this.toggleAttribute("selectable", Boolean(value));
  }

  get disabled() {
    return this.hasAttribute("disabled");
  }

  set disabled(value) {
    this.toggleAttribute("disabled", Boolean(value));
  }

  get profile() {
    return this.#profile;
  }

  set profile(profile) {
    if (profile === null) {
      this.#shown = this.#requested;
      clearTimeout(this.#timer);
      this.notice = "";
    }
    this.#show(this.#acceptable(profile) ? profile : null);
    if (profile === null) {
      this.#enter("pending");
    }
  }

  get state() {
    return this.#state;
  }

  /** @type {declared.PersonaCard["await"]} */
  async await(answer) {
    const number = (this.#requested += 1);
    clearTimeout(this.#timer);
    if (this.#state !== "ready") {
      this.#enter("pending");
      this.#timer = setTimeout(() => this.#enter("fallback"), this.#patience());
    }
    const profile = await Promise.resolve(answer).catch(() => undefined);
    if (number <= this.#shown) {
      return;
    }
    if (this.#acceptable(profile)) {
      this.#shown = number;
      this.#receive(profile);
    } else if (number === this.#requested && this.#state !== "ready") {
      clearTimeout(this.#timer);
      this.#enter("fallback");
    }
  }

  #patience() {
    const milliseconds = Number.parseInt(this.getAttribute("patience") ?? "", 10);
    return milliseconds >= 0 ? milliseconds : PATIENCE_MS;
  }

  /**
   * Whether an answer is about this email: a card never shows another person's name with it.
   * @param {Profile | null | undefined} profile
   * @returns {profile is Profile}
   */
  #acceptable(profile) {
    return (
      typeof profile?.email === "string" && canonicalEmail(profile.email) === canonicalEmail(this.email)
    );
  }

  /** @param {Profile} profile */
  #receive(profile) {
    clearTimeout(this.#timer);
    if (!profile.error) {
      this.#show(profile);
      this.#enter("ready");
      return;
    }
    if (profile.error !== "profile_unreadable") {
      // Without the key, nothing of an earlier visit is shown.
      this.#show(null);
    }
    this.#enter("fallback");
  }

  /** @param {declared.CardState} state */
  #enter(state) {
    if (this.#state !== state) {
      this.#state = state;
      this.dispatchEvent(new Event("statechange", { bubbles: true }));
    }
  }

  /** @param {Profile | null} profile */
  #show(profile) {
    this.#profile = profile;
    this.#renderTexts();
    this.#renderPicture();
  }

  #renderTexts() {
    const parts = this.#parts;
    const { card, email } = parts;
    const profile = this.#profile;
    const { local, at, domain } = emailParts(this.email);
    const name = displayName(this.email, profile);
    const label = visibleText(profile?.label);
    const notice = visibleText(this.notice, MAX_NOTICE);
    const about = notice ? [notice] : aboutTexts(profile, name);
    const initials = monogram(this.email, visibleText(profile?.name));
    if (parts.line.textContent !== name) {
      renew(parts, "line").textContent = name;
    }
    write(parts.local, local);
    parts.local.classList.toggle("short", local.length < 5);
    write(parts.at, at);
    write(parts.domain, domain);
    if (parts.label.textContent !== label) {
      parts.label.textContent = label;
      renew(parts, "about");
    }
    parts.chip.hidden = !label;
    write(parts.about, about.join(" · "));
    parts.about.title = notice; // it may be longer than the line
    if (parts.monogram.dataset.text !== initials.text) {
      renew(parts, "monogram").dataset.text = initials.text;
    }
    parts.monogram.style.setProperty("--hue", String(initials.hue));
    const address = local + at + domain;
    email.title = address;
    // All visible texts in the order of the elements; without it, the parts of the email would be read apart.
    card.setAttribute("aria-label", [name, label, address, ...about].filter(Boolean).join(", "));
  }

  async #renderPicture() {
    const picture = this.#profile?.picture;
    const id = typeof picture?.id === "string" ? picture.id : null;
    if (id === null || id !== this.#pictureId) {
      this.#pictureId = id;
      const began = performance.now();
      const image = id === null ? null : await loadPicture(picture, PORTRAIT_SIDE);
      if (this.#pictureId !== id) {
        return;
      }
      // A picture that failed is loaded again with the next answer.
      this.#pictureId = image && id;
      this.#placePicture(image, performance.now() - began > FIRST_PAINT_MS);
    }
    if (this.#image) {
      this.#image.alt = visibleText(this.#profile?.picture_alt);
    }
  }

  /**
   * @param {HTMLImageElement | null} image
   * @param {boolean} isLate
   */
  #placePicture(image, isLate) {
    this.#image?.remove();
    this.#image = image;
    if (image) {
      image.id = "picture";
      image.className = isLate ? "late" : "";
      image.draggable = false;
      this.#parts.monogram.after(image);
      this.#parts.card.setAttribute("aria-describedby", image.id);
    } else {
      this.#parts.card.removeAttribute("aria-describedby");
    }
  }

  #renderButton() {
    const { card } = this.#parts;
    card.disabled = this.disabled;
    if (this.selectable) {
      card.setAttribute("aria-pressed", String(this.selected));
    } else {
      card.removeAttribute("aria-pressed");
    }
  }

  #choose() {
    const detail = { email: this.email, profile: this.#profile };
    this.dispatchEvent(new CustomEvent("choose", { bubbles: true, composed: true, detail }));
  }
}

/** Builds the elements without markup, which Trusted Types of a page may forbid. */
function makeParts() {
  /** @type {<Tag extends keyof HTMLElementTagNameMap>(tag: Tag, name: string, ...children: (Node | string)[]) => HTMLElementTagNameMap[Tag]} */
  const make = (tag, name, ...children) => {
    const element = document.createElement(tag);
    element.className = name;
    element.append(...children);
    return element;
  };
  const text = (/** @type {string} */ name) => Object.assign(make("bdi", name), { dir: "auto" });
  /** @type {<Part extends Element>(element: Part) => Part} */
  const part = (element) => {
    element.setAttribute("part", element.className);
    return element;
  };

  const [line, local, domain, label, about] = ["line", "local", "", "", "about"].map(text);
  local.dir = domain.dir = "ltr";
  const monogramPart = make("span", "monogram");
  const portrait = part(make("span", "portrait", monogramPart, make("span", "mark")));
  monogramPart.setAttribute("aria-hidden", "true");
  const at = make("span", "at");
  const address = make("bdi", "address", local, at, make("span", "domain", domain));
  address.dir = "ltr";
  const email = part(make("span", "email", address));
  const name = part(make("span", "name", line));
  // In reading order, which is not that of the rows; with spaces, for programs that read the text.
  const chip = part(make("span", "label", label));
  const texts = make("span", "texts", name, " ", chip, " ", email, " ", part(about));
  const card = part(make("button", "card", portrait, texts));
  card.type = "button";
  return { card, monogram: monogramPart, line, email, local, at, domain, chip, label, about };
}

/**
 * Replaces a part by an empty copy: text that is centred, grows upwards or follows a text of another width would
 * count as a layout shift.
 * @param {ReturnType<typeof makeParts>} parts
 * @param {"line" | "monogram" | "about"} name
 */
function renew(parts, name) {
  const fresh = /** @type {HTMLElement} */ (parts[name].cloneNode(false));
  parts[name].replaceWith(fresh);
  parts[name] = fresh;
  return fresh;
}

/**
 * Writes a text only if it changes, so that it is announced and laid out only then.
 * @param {Element} element
 * @param {string} text
 */
function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

if (globalThis.customElements && !customElements.get("persona-card")) {
  customElements.define("persona-card", PersonaCard);
}
