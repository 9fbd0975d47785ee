// Cards of profiles for a sign-in dialog: an element for one, a cache, and a deck for all of a person's.

import { loadPicture } from "./persona-card-picture.js";
import { style } from "./persona-card-style.js";
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

const PATIENCE_MS = 800;
const PORTRAIT_SIDE = 64;
/** A picture that comes this fast is there with the first paint, and needs no fading in. */
const UNNOTICED_MS = 50;
const BOOLEANS = ["selected", "selectable", "disabled"];

/** One profile as a button: `<persona-card email="alice@example.com"></persona-card>`. */
export class PersonaCard extends HTMLElement {
  static observedAttributes = ["email", ...BOOLEANS];

  #parts = makeParts();
  #profile = null;
  #state = "pending";
  /** Answers are numbered as they are asked for, so that an older one never replaces a newer one. */
  #asked = 0;
  #shown = 0;
  #timer = 0;
  #image = null;
  /** Of the picture that is shown or on its way. */
  #pictureId = null;

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open", delegatesFocus: true });
    root.adoptedStyleSheets = [style];
    root.append(this.#parts.card);
    this.#parts.card.addEventListener("click", () => this.#choose());
  }

  connectedCallback() {
    // A page may have set these before this module came.
    for (const name of ["email", "profile", ...BOOLEANS]) {
      if (Object.hasOwn(this, name)) {
        const value = this[name];
        delete this[name];
        this[name] = value;
      }
    }
    this.#renderTexts();
    this.#renderButton();
  }

  attributeChangedCallback(name, before, now) {
    if (before === now) {
      return;
    }
    if (name !== "email") {
      this.#renderButton();
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

  /** What is shown; null while only a monogram is. */
  get profile() {
    return this.#profile;
  }

  /** Shows a profile that is at hand, a cached one say; null goes back to the monogram, and to waiting. */
  set profile(profile) {
    if (profile === null) {
      this.#shown = this.#asked;
      clearTimeout(this.#timer);
    }
    this.#show(this.#acceptable(profile) ? profile : null);
    if (profile === null) {
      this.#enter("pending");
    }
  }

  /** @returns {import("./persona-card.js").CardState} */
  get state() {
    return this.#state;
  }

  /**
   * Shows the answer when it comes; a card that is `ready` stays so if it does not.
   *
   * @param {Promise<import("./persona-profile.js").Profile | undefined>} answer
   */
  async await(answer) {
    const number = (this.#asked += 1);
    clearTimeout(this.#timer);
    if (this.#state !== "ready") {
      this.#enter("pending");
      this.#timer = setTimeout(() => this.#enter("fallback"), this.#patience());
    }
    const profile = await Promise.resolve(answer).catch(() => null);
    if (number <= this.#shown) {
      return;
    }
    if (this.#acceptable(profile)) {
      this.#shown = number;
      this.#receive(profile);
    } else if (number === this.#asked && this.#state !== "ready") {
      clearTimeout(this.#timer);
      this.#enter("fallback");
    }
  }

  #patience() {
    const told = Number.parseInt(this.getAttribute("patience") ?? "", 10);
    return told >= 0 ? told : PATIENCE_MS;
  }

  /** An answer about somebody else is none: the card would lend its name to this email. */
  #acceptable(profile) {
    return (
      typeof profile?.email === "string" && canonicalEmail(profile.email) === canonicalEmail(this.email)
    );
  }

  #receive(profile) {
    clearTimeout(this.#timer);
    if (!profile.error) {
      this.#show(profile);
      this.#enter("ready");
      return;
    }
    if (profile.error !== "profile_unreadable") {
      // Whoever lacks the key shall not see what an earlier opening left.
      this.#show(null);
    }
    this.#enter("fallback");
  }

  #enter(state) {
    if (this.#state !== state) {
      this.#state = state;
      this.dispatchEvent(new Event("statechange", { bubbles: true }));
    }
  }

  #show(profile) {
    this.#profile = profile;
    this.#renderTexts();
    this.#renderPicture();
  }

  #renderTexts() {
    const parts = this.#parts;
    const { card, email } = parts;
    const profile = this.#profile;
    const { local, domain } = emailParts(this.email);
    const name = displayName(this.email, profile);
    const label = visibleText(profile?.label);
    const about = aboutTexts(profile, name).join(" · ");
    const initials = monogram(this.email, visibleText(profile?.name));
    if (parts.line.textContent !== name) {
      renew(parts, "line").textContent = name;
    }
    write(parts.local, local);
    parts.local.classList.toggle("short", local.length < 5);
    write(parts.domain, domain);
    write(parts.label, label);
    parts.label.parentNode.hidden = !label;
    write(parts.about, about);
    if (parts.monogram.dataset.text !== initials.text) {
      renew(parts, "monogram").dataset.text = initials.text;
    }
    parts.monogram.style.setProperty("--hue", String(initials.hue));
    email.title = local + domain;
    // All that is seen, in the order of the elements; the emails' halves would be read apart without it.
    card.setAttribute("aria-label", [name, label, local + domain, about].filter(Boolean).join(", "));
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
      // One that could not be had is asked for again with the next answer.
      this.#pictureId = image && id;
      this.#placePicture(image, performance.now() - began > UNNOTICED_MS);
    }
    if (this.#image) {
      this.#image.alt = visibleText(this.#profile?.picture_alt);
    }
  }

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

for (const name of BOOLEANS) {
  Object.defineProperty(PersonaCard.prototype, name, {
    configurable: true,
    enumerable: true,
    get() {
      return this.hasAttribute(name);
    },
    set(value) {
      this.toggleAttribute(name, Boolean(value));
    },
  });
}

/** Built by hand: a page that trusts no markup takes it too. */
function makeParts() {
  const make = (tag, name, ...children) => {
    const element = document.createElement(tag);
    element.className = name;
    element.append(...children);
    return element;
  };
  const text = (name) => Object.assign(make("bdi", name), { dir: "auto" });
  const part = (element) => {
    element.setAttribute("part", element.className);
    return element;
  };

  const [line, local, domain, label, about] = ["line", "local", "", "", "about"].map(text);
  local.dir = domain.dir = "ltr";
  const monogramPart = make("span", "monogram");
  const portrait = part(make("span", "portrait", monogramPart, make("span", "mark")));
  monogramPart.setAttribute("aria-hidden", "true");
  const address = make("bdi", "address", local, make("span", "domain", domain));
  address.dir = "ltr";
  const email = part(make("span", "email", address));
  const name = part(make("span", "name", line));
  // In the order of hearing, which is not that of the rows; with space between, for what reads the text.
  const chip = part(make("span", "label", label));
  const texts = make("span", "texts", name, " ", chip, " ", email, " ", part(about));
  const card = part(make("button", "card", portrait, texts));
  card.type = "button";
  return { card, monogram: monogramPart, line, email, local, domain, label, about };
}

/** Puts a copy in a part's place: what is centred, or grows upwards, would count as moved with a new text. */
function renew(parts, name) {
  const fresh = parts[name].cloneNode(false);
  parts[name].replaceWith(fresh);
  parts[name] = fresh;
  return fresh;
}

/** Only what changes is written, so that nothing is announced or laid out for nothing. */
function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

if (!customElements.get("persona-card")) {
  customElements.define("persona-card", PersonaCard);
}
