// The suggestions of an OpenID provider for a blank profile: shown, then taken by one click or dismissed.

import { attempt, find, notify } from "./demo-page.js";
import { explained, text } from "./demo-texts.js";

/** @import { Claims, Profile, Suggestions } from "./persona-profile.js" */

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
      notify(text("editor.saved"));
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
      notify(explained(error).text, "error");
    }
    this.#options.onEnd();
  }

  /** @param {Profile | null} profile */
  #offer(profile) {
    const { suggestions } = profile ?? {};
    this.#offered = profile && suggestions ? { ...profile, suggestions } : null;
    const { claims = {}, picture } = suggestions ?? {};
    const names = /** @type {(keyof Claims)[]} */ (Object.keys(claims));
    const rows = names.map((name) => [text(`field.${name}`), claims[name]]);
    if (picture) {
      rows.push([text("picture"), text("suggestion.picture")]);
    }
    const elements = rows.flatMap(([label, value]) => [newText("dt", label), newText("dd", value)]);
    find(this.#root, "dl").replaceChildren(...elements);
    find(this.#root, "[data-action=take]").textContent = nameOfTaking(claims.name, picture);
    this.#root.hidden = !this.#offered;
  }
}

/**
 * @param {string | null} [name]
 * @param {string} [picture]
 */
function nameOfTaking(name, picture) {
  if (picture) {
    return text(name ? "suggestion.take_both" : "suggestion.take_picture");
  }
  return text(name ? "suggestion.take_name" : "suggestion.take_other");
}

/**
 * @param {string} name
 * @param {string | null | undefined} content
 */
function newText(name, content) {
  const element = document.createElement(name);
  element.dir = "auto";
  element.textContent = content ?? "";
  return element;
}
