// Helpers of every part of the page: one action at a time, and errors in words beside their cause.

import { explained, text as textOf } from "./demo-texts.js";

/** @import { Explanation } from "./persona-messages.js" */

/**
 * Returns the first element that matches; it must be there, and of that kind.
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {new () => Kind} [kind]
 */
export function find(root, selector, kind) {
  const element = root.querySelector(selector);
  if (!(element instanceof (kind ?? HTMLElement))) {
    throw new Error(`No such element: ${selector}`);
  }
  return /** @type {Kind} */ (element);
}

/**
 * @template {HTMLElement} [Kind=HTMLElement]
 * @param {string} id
 * @param {new () => Kind} [kind]
 */
export const byId = (id, kind) => find(document, `#${id}`, kind);

const NOTICE_MS = 12_000;
let noticeTimer = 0;

/**
 * Shows a notice about the whole page; good news disappears after a while.
 * @param {string} text
 * @param {"done" | "error"} [kind]
 */
export function notify(text, kind = "done") {
  clearTimeout(noticeTimer);
  byId("notice").dataset.kind = kind;
  byId("notice").textContent = text;
  if (text && kind === "done") {
    noticeTimer = setTimeout(() => notify(""), NOTICE_MS);
  }
}

/**
 * Runs one action at a time in a part of the page. An error is shown there, or in a smaller part: at its fields, or
 * else in `.problem`.
 * @param {Element} scope
 * @param {() => unknown} work
 * @param {Element} [place] of an error
 * @returns {Promise<Explanation | null>} of the error, if there was one
 */
export async function attempt(scope, work, place = scope) {
  if (scope.getAttribute("aria-busy") === "true") {
    return null;
  }
  scope.setAttribute("aria-busy", "true");
  clearProblems(scope);
  try {
    await work();
    return null;
  } catch (error) {
    return report(error, place);
  } finally {
    scope.removeAttribute("aria-busy");
  }
}

/**
 * Shows an error with its next step, in a part of the page. The reason against a file begins with its name,
 * `data-file` of the part.
 * @param {any} error
 * @param {Element} scope
 */
export function report(error, scope) {
  if (!error.code) {
    console.error(error);
  }
  const explanation = explained(error);
  const unplaced = explanation.fields.filter((field) => !showFieldError(scope, field));
  const marked = /** @type {HTMLElement | null} */ (scope.querySelector("[aria-invalid=true]"));
  marked?.focus();
  const file = explanation.action === "choose-file" && /** @type {HTMLElement} */ (scope).dataset.file;
  const sentence = file
    ? textOf("file.problem", { name: file, problem: explanation.text })
    : explanation.text;
  const text = marked && !unplaced.length ? textOf("problem.marked") : sentence;
  const place = scope.querySelector(".problem");
  if (place && explanation.action !== "sign-in") {
    place.textContent = text;
    place.scrollIntoView({ block: "nearest" });
    marked?.closest(".field")?.scrollIntoView({ block: "nearest" });
  } else {
    notify(text, "error");
  }
  return explanation;
}

/** @param {Element} scope */
export function clearProblems(scope) {
  notify("");
  scope.querySelectorAll(".problem").forEach((place) => {
    place.textContent = "";
  });
  scope.querySelectorAll(".field-error").forEach((line) => line.remove());
  for (const input of scope.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
}

let fieldErrors = 0;

/**
 * @param {Element} scope
 * @param {Explanation["fields"][number]} field
 */
function showFieldError(scope, { name, text }) {
  const input = scope.querySelector(`.field input[name="${CSS.escape(name)}"]`);
  if (!input) {
    return false;
  }
  const line = document.createElement("p");
  line.className = "field-error";
  line.id = `field-error-${(fieldErrors += 1)}`;
  line.textContent = text;
  input.closest(".field")?.append(line);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", line.id);
  return true;
}

/**
 * Opens a dialog. Returns the value of the button that closed it; empty after Escape.
 * @param {HTMLDialogElement} dialog
 * @returns {Promise<string>}
 */
export function openDialog(dialog) {
  dialog.returnValue = "";
  for (const button of dialog.querySelectorAll("button")) {
    // Enter in a field presses the first button that submits, so a button that cancels submits nothing.
    if (button.type === "button" && button.value) {
      button.onclick = () => dialog.close(button.value);
    }
  }
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
