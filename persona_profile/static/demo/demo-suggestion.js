// The suggestions of an OpenID provider for a blank profile: shown, then taken by one click or dismissed.

import { explain } from "./persona-messages.js";
import english from "./persona-messages-en.js";
import { attempt, find, notify } from "./demo-page.js";

/** @import { Profile, Suggestions } from "./persona-profile.js" */

const PICTURE = "The one of your account there; you see it once you take it.";

export class Suggestion {
  #root;
  #options;
  /** @type {(Profile & { suggestions: Suggestions }) | null} */
  #offered = null;

  /**
   * @param {HTMLElement} root `.suggestion` of the template
   * @param {object} options
   * @param {(profile: Profile) => Promise<Profile>} options.take
   * @param {(profile: Profile) => void} options.onChange with the new state of the server
   * @param {() => void} options.onEnd when the suggestion disappears under the focus
   */
  constructor(root, options) {
    this.#root = root;
    this.#options = options;
    find(root, "[data-action=take]").addEventListener("click", () => attempt(root, () => this.#take()));
    find(root, "[data-action=dismiss]").addEventListener("click", () => {
      this.#offer(null);
      options.onEnd();
    });
  }

  /**
   * Shows the suggestions of a profile. They stay until the profile is no longer blank.
   * @param {Profile} profile
   */
  show(profile) {
    if (profile.suggestions || profile.version) {
      this.#offer(profile);
    }
  }

  async #take() {
    const offered = this.#offered;
    if (!offered) {
      return;
    }
    try {
      this.#options.onChange(await this.#options.take(offered));
      notify("Saved.");
    } catch (error) {
      if (!error.current) {
        throw error; // nothing was taken
      }
      this.#options.onChange(error.current);
      if (error.isTemporary) {
        const { picture } = offered.suggestions;
        this.#offer({ ...error.current, suggestions: { picture } });
        throw error;
      }
      notify(explain(error).text, "error");
    }
    this.#options.onEnd();
  }

  /** @param {Profile | null} profile */
  #offer(profile) {
    const { suggestions } = profile ?? {};
    this.#offered = profile && suggestions ? { ...profile, suggestions } : null;
    const { claims = {}, picture } = suggestions ?? {};
    const rows = Object.entries({ ...claims, ...(picture && { picture: PICTURE }) });
    find(this.#root, "dl").replaceChildren(
      ...rows.flatMap(([name, text]) => [
        textElement("dt", english[`field.${name}`] ?? name),
        textElement("dd", text),
      ]),
    );
    const parts = [claims.name && "name", picture && "picture"].filter(Boolean).join(" and ");
    find(this.#root, "[data-action=take]").textContent = `Take this ${parts || "suggestion"}`;
    this.#root.hidden = !this.#offered;
  }
}

/**
 * @param {string} name
 * @param {any} text
 */
function textElement(name, text) {
  const element = document.createElement(name);
  element.dir = "auto";
  element.textContent = text;
  return element;
}
