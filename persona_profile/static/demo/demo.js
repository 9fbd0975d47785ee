// The demo dialog: choose a card, sign in through the development identity provider, see and change profiles.

import { CardCache, CardDeck, PersonaCard } from "./persona-card.js";
import { ProfileClient } from "./persona-profile.js";
import { OpenIDSignIn } from "./demo-openid.js";
import { Cropper } from "./demo-crop.js";
import { attempt, byId, clearProblems, say } from "./demo-page.js";
import { ProfilePanel, nothing } from "./demo-profile.js";

const CHOICES = ["alice@example.com", "bob@example.org"];
const THUMBNAIL_SIZE = 128;
const TIMEOUT_MS = 8000;

/** Tells by an event what the server answered to the deck, which asks by itself. */
class ObservedClient extends ProfileClient {
  async profiles(options) {
    const profiles = await super.profiles(options);
    this.dispatchEvent(new CustomEvent("profiles", { detail: profiles }));
    return profiles;
  }
}

const server = document.querySelector("meta[name=profile-server]").content || location.origin;
const client = new ObservedClient({
  origin: server,
  storage: sessionStorage,
  thumbnails: THUMBNAIL_SIZE,
  timeout: TIMEOUT_MS,
});
const cache = new CardCache();
const deck = new CardDeck({ client, container: byId("cards"), cache });
const cropper = new Cropper(byId("crop"));
const openid = new OpenIDSignIn(client);

/** @type {Map<string, ProfilePanel>} Of the session, by email. */
const panels = new Map();
/** Erased emails, which the cache is not to learn anew before something is written. */
const erased = new Set();
/** Whose profile is shown. */
let chosen = null;

// Signing in and out.

async function signIn(emails, options) {
  await enter(emails, await Promise.all(emails.map(mintAssertion)), options);
}

async function enter(emails, proofs, options) {
  const profiles = await client.signIn(proofs, options);
  const added = profiles.find(({ email }) => !panels.has(email));
  chosen = added?.email ?? emails[0];
  openSession();
  takeProfiles(profiles);
  keepCards();
  byId("heading").focus();
  say(`Signed in as ${emails.join(" and ")}.`);
}

/** Opens a session with what the OpenID provider answered; where that fails for the moment, it can be repeated. */
async function finishOpenID() {
  byId("openid").textContent = "Sign in with OpenID Connect (local provider)";
  try {
    await openid.finish(({ email, idToken }) => enter([email], [{ id_token: idToken }]));
  } finally {
    if (openid.hasReturned) {
      byId("openid").textContent = "Finish signing in";
    }
  }
}

/** Asks the development identity provider; in a real dialog, the browser has the assertions. */
async function mintAssertion(email) {
  let answer;
  let document;
  try {
    answer = await fetch(`${server}/development/assertions`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ email }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    document = await answer.json();
  } catch {
    throw Object.assign(new Error("No assertion."), { code: "no_answer" });
  }
  if (!answer.ok) {
    throw Object.assign(new Error("No assertion."), document);
  }
  return document.assertion;
}

/** Ends the session here whatever the server says, and elsewhere if it answers. */
async function signOut() {
  const ended = client.signOut();
  closeSession({ forget: true });
  try {
    await ended;
    say("You are signed out, everywhere.");
  } catch (error) {
    if (!error.isTemporary) {
      throw error;
    }
    say(
      "You are signed out here. The server did not answer, so sessions on other devices may go on.",
      "error",
    );
  }
}

/** Shows the cards of the session, from the cache until the server has answered. */
function openSession() {
  const { emails } = client.session;
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
      panel.show(cache.get(email) ?? nothing(email));
      panels.set(email, panel);
      byId("profiles").append(panel.element);
    }
  }
  byId("another").open = false;
  setSeveral(false);
  select(emails.includes(chosen) ? chosen : emails[0]);
  render();
}

/** Leaves nothing of the session on the page; nothing of its cards on the device either, if `forget` says so. */
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

/** Resumes the session of this tab; the deck asks again and again while there is no answer. */
function resume() {
  openSession();
  deck.refresh().then(forgetErased);
}

// Profiles.

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
      keepCards();
    },
    onErase() {
      erased.add(email);
      panels.get(email)?.show({ ...nothing(email), etag: "" });
      keepCards();
    },
    async onUnlock(_email, profileKey) {
      await signIn([email], { profileKey });
    },
  });
}

function takeProfiles(profiles) {
  for (const profile of profiles) {
    panels.get(profile.email)?.show(profile);
  }
}

/** Gives the deck, and so the cache, what the panels show; what none of them knows yet is asked for. */
function keepCards() {
  const profiles = [...panels.values()].map(({ profile }) => profile);
  const isKnown = profiles.every(({ email, etag }) => etag || erased.has(email));
  deck.refresh(isKnown ? profiles : undefined).then(forgetErased);
}

function forgetErased() {
  erased.forEach((email) => cache.forget(email));
  markSelected();
}

// What is shown.

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
  document.title = `${isSignedIn ? "Your cards" : "Sign in"} · Persona Profiles`;
  byId("heading").textContent = isSignedIn
    ? panels.size > 1
      ? "Your cards"
      : "Your card"
    : "Choose a card";
  byId("lead").textContent = isSignedIn
    ? "This is what a sign-in dialog shows of you."
    : "Who do you want to be on this development server?";
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

/** Whether a card that is pressed is signed in with at once, or counted among several. */
function setSeveral(several) {
  byId("several").setAttribute("aria-pressed", String(several));
  byId("several").textContent = several ? "Choose only one" : "Choose several";
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
  byId("continue").disabled = !count;
  byId("continue").textContent = count > 1 ? `Continue with ${count} cards` : "Continue";
}

function choose(card) {
  const chooser = byId("chooser");
  if (panels.has(card.email)) {
    clearProblems(chooser);
    select(card.email);
    // On a phone it is below the cards.
    panels.get(card.email).element.scrollIntoView({ block: "nearest" });
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
  chooser.addEventListener("choose", (event) => choose(event.target));
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
  byId("other-email").addEventListener("submit", (event) => {
    event.preventDefault();
    const input = event.target.elements.email;
    attempt(chooser, async () => {
      await signIn([input.value.trim()]);
      input.value = "";
    });
  });
  byId("sign-out").addEventListener("click", () => attempt(document.body, signOut));
  client.addEventListener("profiles", ({ detail }) => takeProfiles(detail));
  // The deck hears of it first: it knows whether the cache may keep the cards.
  client.addEventListener("session", () =>
    queueMicrotask(() => {
      if (!client.session && panels.size) {
        closeSession();
        say("You are signed out. Please sign in again.", "error");
      }
    }),
  );
  document.addEventListener("paste", (event) => panels.get(chosen)?.take(event.clipboardData));
  // A file that is dropped beside its place would replace the page.
  for (const type of ["dragover", "drop"]) {
    document.addEventListener(type, (event) => {
      if (event.dataTransfer.types.includes("Files")) {
        event.preventDefault();
      }
    });
  }
}

listen();
if (client.session) {
  resume();
} else {
  openChooser();
}
if (openid.hasReturned) {
  attempt(byId("chooser"), finishOpenID);
}
