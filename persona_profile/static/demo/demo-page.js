// What every part of the page uses: doing one thing at a time, and saying in words what went wrong, where.

import { explain } from "./persona-messages.js";

export const byId = (id) => document.getElementById(id);

const NOTICE_MS = 12_000;
let noticeTimer = 0;

/** Tells of something that concerns the whole page; good news goes by itself. */
export function say(text, kind = "done") {
  clearTimeout(noticeTimer);
  byId("notice").dataset.kind = kind;
  byId("notice").textContent = text;
  if (text && kind === "done") {
    noticeTimer = setTimeout(() => say(""), NOTICE_MS);
  }
}

/**
 * Does one thing at a time in a part of the page, and says what goes wrong there: at the fields that the
 * error names, or else in the part's `.problem`.
 * @returns {Promise<import("./persona-messages.js").Explanation | null>} what went wrong, if anything did
 */
export async function attempt(scope, work) {
  if (scope.getAttribute("aria-busy") === "true") {
    return null;
  }
  scope.setAttribute("aria-busy", "true");
  clearProblems(scope);
  try {
    await work();
    return null;
  } catch (error) {
    return report(error, scope);
  } finally {
    scope.removeAttribute("aria-busy");
  }
}

/** Says what an error means, and what to do. */
export function report(error, scope) {
  if (!error.code) {
    console.error(error);
  }
  const explanation = explain(error, { no_provider: error.text });
  const unplaced = explanation.fields.filter((field) => !showFieldError(scope, field));
  const marked = scope.querySelector("[aria-invalid=true]");
  marked?.focus();
  const text =
    marked && !unplaced.length ? "Something is not right yet: see the marked field." : explanation.text;
  const place = scope.querySelector(".problem");
  if (place && explanation.action !== "sign-in") {
    place.textContent = text;
  } else {
    say(text, "error");
  }
  return explanation;
}

export function clearProblems(scope) {
  say("");
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

function showFieldError(scope, { name, text }) {
  const input = scope.querySelector(`.field input[name="${CSS.escape(name)}"]`);
  if (!input) {
    return false;
  }
  const line = document.createElement("p");
  line.className = "field-error";
  line.id = `field-error-${(fieldErrors += 1)}`;
  line.textContent = text;
  input.closest(".field").append(line);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", line.id);
  return true;
}

/** Opens a dialog; tells by the value of which button it was closed, or nothing if by Escape. */
export function ask(dialog) {
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
  });
}
