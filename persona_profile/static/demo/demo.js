// The demo dialog: choose a card, sign in at the development identity provider, see and change profiles.

import { CardCache, CardDeck, PersonaCard } from "./persona-card.js";
import { ProfileClient, ProfileError } from "./persona-profile.js";
import { EmailVerification } from "./persona-email-verification.js";
import { OpenIDSignIn } from "./demo-openid.js";
import { Cropper } from "./demo-crop.js";
import { attempt, byId, clearProblems, find, notify } from "./demo-page.js";
import { ProfilePanel, blank } from "./demo-profile.js";
import {
  list,
  loadTexts,
  offerLanguages,
  removalOf,
  text,
  translated,
  writeTexts,
} from "./demo-texts.js";

/** @import { Profile, Proof, SignInOptions } from "./persona-profile.js" */

const CHOICES = ["alice@example.com", "bob@example.org"];
const THUMBNAIL_SIZE = 128;
const TIMEOUT_MS = 8000;

/** Dispatches an event with the profiles that the deck requests. */
class ObservedClient extends ProfileClient {
  /** @param {import("./persona-profile.js").CallOptions} [options] */
  async profiles(options) {
    const profiles = await super.profiles(options);
    this.dispatchEvent(new CustomEvent("profiles", { detail: profiles }));
    return profiles;
  }
}

const server = find(document, "meta[name=profile-server]", HTMLMetaElement).content || location.origin;
const client = new ObservedClient({
  origin: server,
  storage: sessionStorage,
  thumbnails: THUMBNAIL_SIZE,
  timeout: TIMEOUT_MS,
});
const cache = new CardCache();
const deck = new CardDeck({ client, container: byId("cards"), cache, noticeOf: removalOf });
const cropper = new Cropper(byId("crop", HTMLDialogElement));
const openid = new OpenIDSignIn(client);
const verification = new EmailVerification({ client, form: byId("other-email", HTMLFormElement) });

/** @type {Map<string, ProfilePanel>} The panels of the session, by email. */
const panels = new Map();
/** @type {Set<string>} Erased emails, which stay out of the cache until they have new data. */
const erased = new Set();
/** @type {string | null} The email of the panel that is shown. */
let chosen = null;

// Signing in and out.

/** @type {(emails: string[], options?: SignInOptions) => Promise<void>} */
async function signIn(emails, options) {
  await enter(emails, await Promise.all(emails.map(mintAssertion)), options);
}

/** @type {(emails: string[], proofs: Proof[], options?: SignInOptions) => Promise<void>} */
async function enter(emails, proofs, options) {
  const profiles = await client.signIn(proofs, options);
  const added = profiles.find(({ email }) => !panels.has(email));
  chosen = added?.email ?? emails[0];
  openSession();
  showProfiles(profiles);
  updateCards();
  byId("heading").focus();
  notify(text("session.opened", { emails: list(emails) }));
}

/**
 * Proves a typed address in the first way that there is: by the browser's token, at the OpenID provider, or by an
 * assertion of the development identity provider.
 * @param {string} email
 * @param {Proof | null} proof the browser's token
 */
async function useAddress(email, proof) {
  if (proof) {
    try {
      await enter([email], [proof]);
      return;
    } catch (error) {
      // A busy server would reject the next proof too.
      if (error.isTemporary || error.code === "aborted") {
        throw error;
      }
    }
  }
  try {
    await openid.begin({ loginHint: email });
  } catch (error) {
    if (error.code !== "no_provider") {
      throw error;
    }
    await signIn([email]);
  }
}

/** Opens a session with the answer of the OpenID provider; after a temporary failure it can be repeated. */
async function finishOpenID() {
  byId("openid").textContent = text("openid.begin");
  try {
    await openid.finish(({ email, idToken }) => enter([email ?? ""], [{ id_token: idToken }]));
  } finally {
    if (openid.hasReturned) {
      byId("openid").textContent = text("openid.finish");
    }
  }
}

/**
 * Requests an assertion from the development identity provider; a real dialog makes its own.
 * @param {string} email
 * @returns {Promise<Proof>}
 */
async function mintAssertion(email) {
  let answer;
  let problem;
  try {
    answer = await fetch(`${server}/development/assertions`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ email }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    problem = await answer.json();
  } catch {
    throw new ProfileError("no_answer", "No assertion.");
  }
  if (!answer.ok) {
    for (const error of problem.errors ?? []) {
      error.description = translated(error.description);
    }
    throw Object.assign(new Error("No assertion."), problem);
  }
  return problem.assertion;
}

/** Ends the session in this browser, and everywhere if the server answers. */
async function signOut() {
  const ended = client.signOut();
  closeSession({ forget: true });
  try {
    await ended;
    notify(text("session.signed_out"));
  } catch (error) {
    if (!error.isTemporary) {
      throw error;
    }
    notify(text("session.signed_out_here"), "error");
  }
}

/** Shows the cards of the session, from the cache until the server has answered. */
function openSession() {
  const emails = client.session?.emails ?? [];
  deck.open();
  for (const [email, panel] of panels) {
    if (!emails.includes(email)) {
      panel.element.remove();
      panels.delete(email);
    }
  }
  for (const email of emails) {
    if (!panels.has(email)) {
      const panel = newPanel(email);
      panel.show(cache.get(email) ?? blank(email));
      panels.set(email, panel);
      byId("profiles").append(panel.element);
    }
  }
  byId("another", HTMLDetailsElement).open = false;
  setSeveral(false);
  select(chosen && emails.includes(chosen) ? chosen : emails[0]);
  render();
}

/** Removes the session from the page; with `forget`, its cards from the device too. */
function closeSession({ forget = false } = {}) {
  deck.close({ forget });
  panels.forEach(({ element }) => element.remove());
  panels.clear();
  erased.clear();
  chosen = null;
  openChooser();
  byId("heading").focus();
}

function openChooser() {
  deck.open([...new Set([...cache.emails, ...CHOICES])]);
  setSeveral(false);
  render();
}

/** Resumes the session of this tab; the deck retries until there is an answer. */
function resume() {
  openSession();
  deck.refresh().then(forgetErased);
}

// Profiles.

/** @param {string} email */
function newPanel(email) {
  return new ProfilePanel(email, {
    client,
    cropper,
    thumbnailSize: THUMBNAIL_SIZE,
    onChange(profile) {
      if (profile.version) {
        erased.delete(email);
      }
      panels.get(email)?.show(profile);
      updateCards();
    },
    onErase() {
      erased.add(email);
      panels.get(email)?.show(blank(email));
      updateCards();
    },
    async onUnlock(profileKey) {
      await signIn([email], { profileKey });
      const { error } = panels.get(email)?.profile ?? {};
      if (error) {
        throw new ProfileError(error, "Another key opens the profile.");
      }
    },
  });
}

/** @param {Profile[]} profiles */
function showProfiles(profiles) {
  for (const profile of profiles) {
    panels.get(profile.email)?.show(profile);
  }
}

/** Updates deck and cache with the profiles of the panels, or from the server if a panel has none yet. */
function updateCards() {
  const profiles = [...panels.values()].map(({ profile }) => profile);
  const isKnown = profiles.every(({ email, etag }) => etag || erased.has(email));
  deck.refresh(isKnown ? profiles : undefined).then(forgetErased);
}

function forgetErased() {
  erased.forEach((email) => cache.forget(email));
  markSelected();
}

// What is shown.

/** @param {string} email */
function select(email) {
  chosen = email;
  for (const panel of panels.values()) {
    panel.element.hidden = panel.email !== email;
  }
  markSelected();
}

function markSelected() {
  const isSignedIn = panels.size > 0;
  for (const card of deck.cards) {
    if (isSignedIn) {
      card.selectable = panels.size > 1;
      card.selected = card.email === chosen;
    }
  }
}

function render() {
  const isSignedIn = panels.size > 0;
  const title = text(isSignedIn ? "cards.your_title" : "cards.title");
  document.title = text("page.title", { title });
  byId("heading").textContent = isSignedIn
    ? text("cards.your", { count: panels.size })
    : text("cards.choose");
  byId("lead").textContent = text(isSignedIn ? "cards.lead_signed_in" : "cards.lead");
  byId("sign-out").hidden = !isSignedIn;
  byId("profiles").hidden = !isSignedIn;
  byId("several-actions").hidden = isSignedIn;
  const left = isSignedIn ? CHOICES.filter((email) => !panels.has(email)) : [];
  byId("choices").hidden = !left.length;
  byId("choices").replaceChildren(
    ...left.map((email) => {
      const card = new PersonaCard();
      card.email = email;
      return card;
    }),
  );
}

/**
 * Sets whether a pressed card signs in at once, or is one of several.
 * @param {boolean} several
 */
function setSeveral(several) {
  byId("several").setAttribute("aria-pressed", String(several));
  byId("several").textContent = text(several ? "cards.one" : "cards.several");
  for (const card of deck.cards) {
    card.selectable = several;
    card.selected = false;
  }
  countSelected();
}

function countSelected() {
  const several = byId("several").getAttribute("aria-pressed") === "true";
  const count = deck.cards.filter(({ selected }) => selected).length;
  byId("continue").hidden = !several;
  byId("continue", HTMLButtonElement).disabled = !count;
  byId("continue").textContent =
    count > 1 ? text("other.continue_with", { count }) : text("other.continue");
}

/** @param {PersonaCard} card */
function choose(card) {
  const chooser = byId("chooser");
  const panel = panels.get(card.email);
  if (panel) {
    clearProblems(chooser);
    select(card.email);
    // On a phone the panel is below the cards.
    panel.element.scrollIntoView({ block: "nearest" });
  } else if (card.selectable) {
    card.selected = !card.selected;
    countSelected();
  } else {
    attempt(chooser, () => signIn([card.email]));
  }
}

// Events.

function listen() {
  const chooser = byId("chooser");
  chooser.addEventListener("choose", ({ target }) => choose(/** @type {PersonaCard} */ (target)));
  byId("several").addEventListener("click", () => {
    setSeveral(byId("several").getAttribute("aria-pressed") !== "true");
  });
  byId("continue").addEventListener("click", () => {
    const emails = deck.cards.filter(({ selected }) => selected).map(({ email }) => email);
    attempt(chooser, () => signIn(emails));
  });
  byId("openid").addEventListener("click", () => {
    attempt(chooser, () => (openid.hasReturned ? finishOpenID() : openid.begin()));
  });
  const form = byId("other-email");
  const input = find(form, "[name=email]", HTMLInputElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const proof = verification.take(); // at once: the browser fills the field for the submit alone
    const use = async () => {
      await useAddress(input.value.trim(), proof);
      input.value = "";
    };
    attempt(chooser, use, form);
  });
  byId("sign-out").addEventListener("click", () => attempt(document.body, signOut));
  client.addEventListener("profiles", (event) =>
    showProfiles(/** @type {CustomEvent} */ (event).detail),
  );
  // After the deck's own listener, which decides whether the cache keeps the cards.
  client.addEventListener("session", () =>
    queueMicrotask(() => {
      if (!client.session && panels.size) {
        closeSession();
        notify(text("session.ended"), "error");
      }
    }),
  );
  document.addEventListener("paste", (event) => {
    // A copy of a document or of cells has a picture beside its text: a field wants the text.
    const isField = event.target instanceof HTMLInputElement && event.target.type !== "file";
    if (!(isField && event.clipboardData?.types.includes("text/plain"))) {
      panels.get(chosen ?? "")?.usePicture(event.clipboardData);
    }
  });
  byId("crop").addEventListener("drop", (event) =>
    panels.get(chosen ?? "")?.usePicture(event.dataTransfer),
  );
  // The browser would replace the page by a file that is dropped elsewhere on it.
  for (const type of /** @type {const} */ (["dragover", "drop"])) {
    document.addEventListener(type, (event) => {
      if (event.dataTransfer?.types.includes("Files")) {
        event.preventDefault();
      }
    });
  }
}

const loading = loadTexts();
if (loading) {
  // The page stays blank until its texts are there, so that nothing moves afterwards.
  document.documentElement.classList.add("loading");
  await loading;
  document.documentElement.classList.remove("loading");
}
writeTexts(document);
offerLanguages(byId("language", HTMLSelectElement));
listen();
if (client.session) {
  resume();
} else {
  openChooser();
}
if (openid.hasReturned) {
  attempt(byId("chooser"), finishOpenID);
}
