// Proof of an address by the browser itself: the Email Verification Protocol. persona-email-verification.d.ts is
// the reference.

import { canonicalEmail } from "./persona-card-text.js";

/** @import * as declared from "./persona-email-verification.js" */

const NAME = "email_verification_token";
const AUTOCOMPLETE = "email-verification-token";

/** A nonce is replaced when less of its life is left: the person still has to type, and the server to verify. */
const MIN_LIFE_MS = 120_000;

const TOKEN = /^[\w-]+\.([\w-]+)\.[\w-]+~[\w-]+\.[\w-]+\.[\w-]+$/;

/** @type {typeof declared.tokenOf} */
export function tokenOf(value, email) {
  const payload = TOKEN.exec(value)?.[1];
  if (!payload) {
    return null;
  }
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll("-", "+").replaceAll("_", "/")), (each) =>
      each.charCodeAt(0),
    );
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    const isSame = canonicalEmail(String(claims.email)) === canonicalEmail(email.trim());
    return isSame ? value : null;
  } catch {
    return null;
  }
}

/** @type {typeof declared.needsNonce} */
export function needsNonce(nonce, shown, now) {
  // The browser empties the attribute of an element that is put into a document with a policy.
  return !nonce || shown !== nonce.nonce || !(Date.parse(nonce.expires_at) - now >= MIN_LIFE_MS);
}

export class EmailVerification {
  #client;
  #form;
  #input;
  #token = document.createElement("input");
  #ended = new AbortController();
  /** @type {import("./persona-profile.js").Nonce | null} */
  #nonce = null;
  /** @type {Promise<void> | null} */
  #preparing = null;

  /** @param {declared.EmailVerificationOptions} options */
  constructor({ client, form, input }) {
    const found = input ?? form.querySelector("input[type=email]");
    if (!(found instanceof HTMLInputElement)) {
      throw new TypeError("The form has no input of type email.");
    }
    this.#client = client;
    this.#form = form;
    this.#input = found;
    this.#token.type = "hidden";
    this.#token.name = NAME;
    this.#token.setAttribute("autocomplete", AUTOCOMPLETE); // newer than the types of `autocomplete`
    form.append(this.#token);
    form.addEventListener("focusin", () => this.prepare(), { signal: this.#ended.signal });
    if (form.contains(document.activeElement)) {
      this.prepare();
    }
  }

  prepare() {
    if (this.#ended.signal.aborted || !needsNonce(this.#nonce, this.#shown, Date.now())) {
      return Promise.resolve();
    }
    this.#preparing ??= this.#prepare().finally(() => {
      this.#preparing = null;
    });
    return this.#preparing;
  }

  take() {
    const value = this.#token.value;
    this.#token.value = "";
    const token = tokenOf(value, this.#input.value);
    if (!token) {
      return null;
    }
    this.#forgetNonce(); // it opens one session
    return { evt: token };
  }

  close() {
    this.#ended.abort();
    this.#token.remove();
    this.#forgetNonce();
  }

  get #shown() {
    return this.#token.getAttribute("nonce");
  }

  async #prepare() {
    const { signal } = this.#ended;
    let nonce = this.#nonce;
    if (needsNonce(nonce, nonce?.nonce ?? null, Date.now())) {
      try {
        nonce = await this.#client.nonce({ signal });
      } catch {
        return; // without a nonce there is no token, and the dialog goes on to its next way
      }
    }
    if (!signal.aborted && nonce && this.#form.isConnected) {
      this.#nonce = nonce;
      // The attribute, and in the document: under a policy the property is hidden from the browser itself.
      this.#token.setAttribute("nonce", nonce.nonce);
    }
  }

  #forgetNonce() {
    this.#nonce = null;
    this.#token.removeAttribute("nonce");
  }
}
