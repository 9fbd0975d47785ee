// A page that a bundler joins with the package: it uses each part, and leaves the outcome to the test.

import { CardDeck } from "persona-profile-client/card";
import { ProfileClient } from "persona-profile-client";
import { explain } from "persona-profile-client/messages";
import { reduce } from "persona-profile-client";
import german from "./german.js";

const EMAIL = "alice@example.com";
const server = location.hash.slice(1);

async function prove(email) {
  const headers = { "Content-Type": "application/json" };
  const request = { method: "POST", headers, body: JSON.stringify({ email }) };
  const answer = await fetch(`${server}/development/assertions`, request);
  return (await answer.json()).assertion;
}

/** Returns a picture that is large enough to be reduced. */
function photo() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 2200, height: 1100 });
  const context = canvas.getContext("2d");
  const drawn = context.createImageData(canvas.width, canvas.height);
  drawn.data.forEach((_, at) => {
    drawn.data[at] = at % 4 === 3 ? 255 : (at >> 7) % 251;
  });
  context.putImageData(drawn, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg"));
}

/** Calls a function while the page, unlike its workers, lacks a global. */
async function without(name, call) {
  const property = Object.getOwnPropertyDescriptor(globalThis, name);
  delete globalThis[name];
  try {
    return await call();
  } finally {
    Object.defineProperty(globalThis, name, property);
  }
}

async function run() {
  const client = new ProfileClient({ origin: server, storage: sessionStorage });
  const container = document.getElementById("cards");
  const deck = new CardDeck({ client, container, emails: [EMAIL] });
  deck.open();
  await deck.refresh(await client.signIn([await prove(EMAIL)]));
  const picture = await photo();
  const inWorker = await without("OffscreenCanvas", () => reduce(picture));
  const onPage = await without("Worker", () => reduce(picture));
  await client.uploadPicture(EMAIL, picture);
  await client.update(EMAIL, { name: "Alice Liddell" });
  await deck.refresh();
  const error = await client.update(EMAIL, { website: "ftp://example.com" }).catch((thrown) => thrown);
  const [card] = deck.cards;
  return {
    card: [card.state, card.profile.name, Boolean(card.profile.picture)],
    inWorker: inWorker.side,
    onPage: onPage.side,
    english: explain({ code: "aborted" }).text,
    german: explain(error, german).text,
  };
}

run().then(
  (outcome) => Object.assign(globalThis, { outcome }),
  (error) => Object.assign(globalThis, { outcome: { error: String(error), code: error.code } }),
);
