// Sign-in of the demo at the OpenID provider of the development server.

import { beginSignIn, takeAnswer } from "./persona-openid.js";
import { ProfileError } from "./persona-profile.js";

/** @import { Answer } from "./persona-openid.js" */
/** @import { ProfileClient } from "./persona-profile.js" */

const TIMEOUT_MS = 8000;

export class OpenIDSignIn {
  #client;
  /** @type {Answer | null} */
  #answer = null;
  /** @type {ProfileError | null} */
  #problem = null;

  /**
   * Reads the provider's answer, if there is one, and removes it from the address.
   * @param {ProfileClient} client
   */
  constructor(client) {
    this.#client = client;
    try {
      this.#answer = takeAnswer();
    } catch (error) {
      this.#problem = error;
    }
  }

  /** Whether there is an answer of the provider that was not used yet. */
  get hasReturned() {
    return Boolean(this.#answer || this.#problem);
  }

  /**
   * Leaves for the page of the provider.
   * @param {{ loginHint?: string }} [hint] the expected email
   */
  async begin({ loginHint } = {}) {
    const { issuer, authorization_endpoint, client_id } = await this.#provider();
    const options = {
      issuer,
      authorizationEndpoint: authorization_endpoint,
      clientId: client_id,
      scope: "openid email profile",
      loginHint,
    };
    await beginSignIn({ client: this.#client, ...options });
  }

  /**
   * Passes the answer to `use`, and keeps it after a temporary failure.
   * @param {(answer: Answer) => Promise<void>} use
   */
  async finish(use) {
    const [answer, problem] = [this.#answer, this.#problem];
    this.#answer = this.#problem = null;
    if (problem) {
      throw problem;
    }
    if (!answer) {
      return;
    }
    try {
      await use(answer);
    } catch (error) {
      this.#answer = error.isTemporary ? answer : null;
      throw error;
    }
  }

  /** Requests the provider's addresses; a real dialog has them in its configuration. */
  async #provider() {
    let answer;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      answer = await fetch(`${this.#client.origin}/development/openid`, { signal });
      if (answer.status === 200) {
        return await answer.json();
      }
    } catch {
      throw new ProfileError("no_answer", "No answer.");
    }
    throw Object.assign(new Error("No provider."), { code: "no_provider" });
  }
}
