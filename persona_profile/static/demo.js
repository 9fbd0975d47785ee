// The demo dialog: signs in through the development identity provider, shows and edits profiles.

const TOKEN_KEY = "persona-profile-token";
const THUMBNAIL_SIZE = 128;
const TIMEOUT_MS = 20_000;

/** @type {Map<string, {element: HTMLElement, profile: object}>} What is shown, by email. */
const cards = new Map();
const byId = (id) => document.getElementById(id);
const pathOf = (card) => `/v1/profiles/${encodeURIComponent(card.profile.email)}`;

/** An error: a problem document (RFC 9457), or whatever else came instead of an answer. */
class Problem extends Error {
  constructor({ code = "unknown", detail = "The server gave no reason.", limit, errors = [] }) {
    super(detail);
    Object.assign(this, { code, limit, errors });
  }
}

/** Calls the API with the session; returns the JSON of its answer, or a Blob of anything else. */
async function call(method, path, options = {}) {
  const { status, response } = await send(method, path, options);
  const isJson = /^application\/([a-z]+\+)?json\b/.test(response.type);
  const answer = isJson ? JSON.parse(await response.text()) : response;
  if (status >= 400) {
    throw new Problem(answer);
  }
  return answer;
}

/** XMLHttpRequest, since fetch does not tell how far an upload is. */
function send(method, path, { json, body = json && JSON.stringify(json), headers, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path);
    request.responseType = "blob";
    // An upload takes as long as the line needs.
    request.timeout = onProgress ? 0 : TIMEOUT_MS;
    request.upload.onprogress = ({ loaded, total }) => onProgress?.(loaded / total);
    const token = sessionStorage.getItem(TOKEN_KEY);
    const authorization = token && { Authorization: `Bearer ${token}` };
    const type = json && { "Content-Type": "application/json" };
    for (const [name, value] of Object.entries({ ...authorization, ...type, ...headers })) {
      request.setRequestHeader(name, value);
    }
    request.onload = () => resolve(request);
    request.onerror = request.ontimeout = () => reject(new Problem({ code: "no_answer" }));
    request.send(body);
  });
}

// What went wrong, in words.

const TRY_LATER = "The server is busy just now. Try again in a moment.";
const SENTENCES = {
  no_answer: "The server does not answer. Check that it runs and that you are online, then try again.",
  session_expired: "Your session has ended. Please sign in again.",
  session_revoked: "You were signed out. Please sign in again.",
  session_invalid: "The server does not know your session any more. Please sign in again.",
  body_too_large: "This file is too large.",
  unsupported_media_type: "This is not a picture. JPEG, PNG, WebP, GIF, AVIF and HEIC will do.",
  picture_broken: "This picture is damaged or not complete. Try another file.",
  picture_too_many_pixels: "This picture has too many pixels.",
  conflict: "Someone else is changing this profile just now. Try again.",
  overloaded: TRY_LATER,
  storage_unavailable: TRY_LATER,
  keys_unavailable: TRY_LATER,
  profile_key_required: "This profile opens only with your own key.",
  profile_key_wrong: "This profile opens with another key of yours.",
  profile_unreadable: "What is stored for this address can’t be read just now. Try again later.",
};
const LIMITS = {
  body_too_large: (bytes) => `${Math.floor(bytes / 2 ** 20)} MiB`,
  picture_too_many_pixels: (pixels) => `${Math.floor(pixels / 1e6)} megapixels`,
};

function inWords(error) {
  if (!(error instanceof Problem)) {
    console.error(error);
    return "This page made a mistake. Reload it and try again.";
  }
  const sentence = SENTENCES[error.code] ?? `That did not work: ${error.message} (${error.code})`;
  const limit = error.limit && LIMITS[error.code]?.(error.limit);
  return limit ? `${sentence} The limit is ${limit}.` : sentence;
}

function say(text, kind = "done") {
  byId("notice").dataset.kind = kind;
  byId("notice").textContent = text;
}

/** Shows an error: at the fields that it names, or else in the notice. */
function report(error, scope) {
  if (error.code?.startsWith("session_")) {
    forgetSession();
  }
  const unplaced = (error.errors ?? []).filter((each) => !showFieldError(scope, each));
  const marked = scope.querySelector("[aria-invalid=true]");
  marked?.focus();
  const placed = marked && !unplaced.length;
  say(placed ? "Something is not right yet: see the marked field." : inWords(error), "error");
}

function showFieldError(scope, { name, description }) {
  const input = scope.querySelector(`.field input[name="${CSS.escape(name)}"]`);
  if (!input) {
    return false;
  }
  const line = document.createElement("p");
  line.className = "field-error";
  line.id = `error-${scope.dataset.id ?? "sign-in"}-${name}`;
  line.textContent = `${input.labels[0].textContent.trim()}: ${description}.`;
  input.closest(".field").append(line);
  input.setAttribute("aria-invalid", "true");
  input.setAttribute("aria-describedby", line.id);
  return true;
}

function clearErrors(scope) {
  say("");
  scope.querySelectorAll(".field-error").forEach((line) => line.remove());
  for (const input of scope.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
}

/** Does one thing at a time in a part of the page, and reports what goes wrong there. */
async function attempt(scope, work) {
  if (scope.getAttribute("aria-busy") === "true") {
    return;
  }
  scope.setAttribute("aria-busy", "true");
  clearErrors(scope);
  try {
    await work();
  } catch (error) {
    report(error, scope);
  } finally {
    scope.removeAttribute("aria-busy");
  }
}

// Session.

async function signIn(emails) {
  const minted = await Promise.all(
    emails.map((email) => call("POST", "/development/assertions", { json: { email } })),
  );
  const json = { proofs: minted, thumbnails: THUMBNAIL_SIZE };
  const session = await call("POST", "/v1/sessions", { json });
  sessionStorage.setItem(TOKEN_KEY, session.token);
  session.profiles.forEach(showProfile);
  showSession();
  byId("heading").focus();
  say(`Signed in as ${emails.join(" and ")}.`);
}

async function resume() {
  const { profiles } = await call("GET", `/v1/profiles?thumbnails=${THUMBNAIL_SIZE}`);
  profiles.forEach(showProfile);
  showSession();
}

async function signOut() {
  await call("DELETE", "/v1/sessions");
  forgetSession();
  say("You are signed out, everywhere.");
}

function showSession() {
  const signedIn = cards.size > 0;
  byId("heading").textContent = ["Sign in", "Your profile"][cards.size] ?? "Your profiles";
  byId("sign-in-heading").textContent = signedIn ? "Add another address" : "Choose an address";
  byId("sign-out").hidden = !signedIn;
  for (const choice of document.querySelectorAll(".choice")) {
    choice.hidden = choice.dataset.emails.split(" ").some((email) => cards.has(email));
  }
}

function forgetSession() {
  sessionStorage.removeItem(TOKEN_KEY);
  cards.forEach(({ element }) => element.remove());
  cards.clear();
  showSession();
  byId("heading").focus();
}

// Cards.

function showProfile(profile) {
  const card = cards.get(profile.email) ?? newCard(profile.email);
  const previous = card.profile;
  card.profile = profile;
  const { email, label, nickname, pronouns, picture } = profile;
  const title = profile.name ?? nickname ?? email.split("@")[0];
  const website = profile.website?.replace(/^https:\/\/|\/$/g, "");
  const parts = { title, email, label, pronouns, website };
  parts.updated = profile.error ? SENTENCES[profile.error] : lastChange(profile.updated_at);
  parts.nickname = nickname === title ? null : nickname;
  parts["picture-action"] = picture ? "Change picture" : "Add a picture";
  for (const [part, text] of Object.entries(parts)) {
    const element = card.element.querySelector(`[data-show=${part}]`);
    element.textContent = text ?? "";
    element.hidden = !text;
  }
  if (profile.website?.startsWith("https://")) {
    card.element.querySelector("[data-show=website]").href = profile.website;
  }
  card.element.setAttribute("aria-label", `Profile of ${email}`);
  card.element.querySelector(".portrait .monogram").textContent = initial(title);
  card.element.querySelector("[data-action=remove-picture]").hidden = !picture;
  showPicture(card, previous?.picture);
  fillForm(card, previous);
}

function newCard(email) {
  const element = byId("card-template").content.firstElementChild.cloneNode(true);
  const card = { element, profile: null };
  element.dataset.id = String(cards.size);
  element.style.setProperty("--hue", hue(email));
  const form = element.querySelector("form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(element, () => save(card));
  });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    attempt(element, () => closeForm(card));
  });
  element.querySelector("input[type=file]").addEventListener("change", (event) => {
    const [file] = event.target.files;
    attempt(element, () => upload(card, file)).finally(() => { event.target.value = ""; });
  });
  for (const button of element.querySelectorAll("[data-action]")) {
    const act = ACTIONS[button.dataset.action];
    button.addEventListener("click", () => attempt(element, () => act(card)));
  }
  element.querySelector("img").addEventListener("error", (event) => { event.target.hidden = true; });
  byId("sign-in").before(element);
  cards.set(email, card);
  return card;
}

/** The thumbnail came with the profile, so that no request is needed where it is sharp enough. */
function showPicture(card, previous) {
  const { picture, picture_alt: alternative } = card.profile;
  const image = card.element.querySelector("img");
  image.alt = alternative ?? "";
  if (!picture) {
    image.hidden = true;
  } else if (picture.id !== previous?.id) {
    const { thumbnail, urls } = picture;
    const sources = thumbnail ? { ...urls, [THUMBNAIL_SIZE]: thumbnail } : urls;
    image.hidden = false;
    image.srcset = Object.entries(sources).map(([size, url]) => `${url} ${size}w`).join(", ");
    image.src = urls[256];
  }
}

/** Fills in the profile, but for the fields in which something else than `previous` was typed. */
function fillForm(card, previous) {
  for (const input of card.element.querySelectorAll(".claims input")) {
    if (!previous || input.value === (previous[input.name] ?? "")) {
      input.value = card.profile[input.name] ?? "";
    }
  }
}

async function reload(card) {
  showProfile(await call("GET", pathOf(card)));
}

function closeForm(card) {
  fillForm(card, null);
  const details = card.element.querySelector("details");
  details.open = false;
  details.querySelector("summary").focus();
}

function lastChange(updated) {
  const format = { dateStyle: "medium", timeStyle: "short" };
  return updated ? `Changed ${new Date(updated).toLocaleString("en", format)}` : "Nothing stored yet";
}

/** The first character as a person sees it: an emoji or a letter with its marks is one. */
function initial(name) {
  const [first] = new Intl.Segmenter().segment(name);
  return first.segment.toLocaleUpperCase();
}

function hue(email) {
  return [...email].reduce((sum, character) => (sum * 31 + character.codePointAt(0)) % 360, 0);
}

// Actions of a card.

async function save(card) {
  const changes = {};
  for (const { name, value } of card.element.querySelectorAll(".claims input")) {
    if (value !== (card.profile[name] ?? "")) {
      changes[name] = value || null;
    }
  }
  const headers = { "Content-Type": "application/merge-patch+json", "If-Match": card.profile.etag };
  try {
    if (Object.keys(changes).length) {
      showProfile(await call("PATCH", pathOf(card), { json: changes, headers }));
    }
  } catch (error) {
    if (error.code !== "precondition_failed") {
      throw error;
    }
    await reload(card);
    say("This profile was changed elsewhere and is up to date now. Look again, then save.", "error");
    return;
  }
  closeForm(card);
  say("Saved.");
}

async function upload(card, file) {
  // Asked first, so that nobody waits for an upload that is refused at its end.
  const { limits } = await call("GET", "/v1/");
  if (file.size > limits.picture_bytes) {
    throw new Problem({ code: "body_too_large", limit: limits.picture_bytes });
  }
  const progress = card.element.querySelector(".progress");
  const [bar, words] = progress.children;
  const onProgress = (part) => {
    bar.value = part;
    words.textContent = part < 1 ? `${Math.floor(part * 100)} %` : "Preparing…";
  };
  onProgress(0);
  progress.hidden = false;
  try {
    // The server looks at the content alone, and names and types of files are often wrong.
    const headers = { "Content-Type": "application/octet-stream" };
    showProfile(await call("PUT", `${pathOf(card)}/picture`, { body: file, headers, onProgress }));
  } finally {
    progress.hidden = true;
  }
  say("The picture is saved.");
}

const ACTIONS = {
  async "remove-picture"(card) {
    await call("DELETE", `${pathOf(card)}/picture`);
    await reload(card);
    card.element.querySelector("input[type=file]").focus();
    say("The picture is removed.");
  },
  async "take-away"(card) {
    const archive = await call("GET", `${pathOf(card)}/export`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(archive);
    link.download = `profile-${card.profile.email}.zip`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
    say("Your data is in your downloads.");
  },
  async erase(card) {
    if (await confirmErase(card.profile.email)) {
      await call("DELETE", pathOf(card));
      await reload(card);
      fillForm(card, null);
      say(`Everything about ${card.profile.email} is erased.`);
    }
  },
};

function confirmErase(email) {
  const dialog = byId("confirm");
  byId("confirm-email").textContent = email;
  dialog.returnValue = "keep";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "erase"), { once: true });
  });
}

function start() {
  const panel = byId("sign-in");
  for (const choice of panel.querySelectorAll(".choice")) {
    const emails = choice.dataset.emails.split(" ");
    choice.style.setProperty("--hue", emails.length > 1 ? 285 : hue(emails[0]));
    choice.addEventListener("click", () => attempt(panel, () => signIn(emails)));
  }
  byId("other-email").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = event.target.elements.email;
    attempt(panel, async () => {
      await signIn([input.value.trim()]);
      input.value = "";
    });
  });
  byId("sign-out").addEventListener("click", () => attempt(document.body, signOut));
  if (sessionStorage.getItem(TOKEN_KEY)) {
    attempt(document.body, resume);
  }
}

start();
