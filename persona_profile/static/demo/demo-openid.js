// The demo's way to sign in at the development server's OpenID provider, and back.

import { beginSignIn, takeAnswer } from "./persona-openid.js";

const TIMEOUT_MS = 8000;
const NO_PROVIDER =
  "The local OpenID provider does not run; the server said why when it started. Choose a card instead.";

export class OpenIDSignIn {
  #client;
  #answer = null;
  #problem = null;

  /** Takes the provider's answer out of the address, if there is one. */
  constructor(client) {
    this.#client = client;
    try {
      this.#answer = takeAnswer();
    } catch (error) {
      this.#problem = error;
    }
  }

  /** Whether the provider has answered, and the answer is not used up. */
  get hasReturned() {
    return Boolean(this.#answer || this.#problem);
  }

  /** Leaves the page for the provider's. */
  async begin() {
    const { issuer, authorization_endpoint, client_id } = await this.#provider();
    const options = { issuer, authorizationEndpoint: authorization_endpoint, clientId: client_id };
    await beginSignIn({ client: this.#client, ...options });
  }

  /** Gives the answer to `use`; keeps it if that fails only for the moment. */
  async finish(use) {
    const [answer, problem] = [this.#answer, this.#problem];
    this.#answer = this.#problem = null;
    if (problem) {
      throw problem;
    }
    try {
      await use(answer);
    } catch (error) {
      this.#answer = error.isTemporary ? answer : null;
      throw error;
    }
  }

  /** Asks where the provider is; a real dialog is configured with that. */
  async #provider() {
    let answer;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      answer = await fetch(`${this.#client.origin}/development/openid`, { signal });
      if (answer.ok) {
        return await answer.json();
      }
    } catch {
      throw Object.assign(new Error("No answer."), { code: "no_answer" });
    }
    throw Object.assign(new Error("No provider."), { code: "no_provider", text: NO_PROVIDER });
  }
}
