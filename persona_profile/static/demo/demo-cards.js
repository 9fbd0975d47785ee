// All states of a card on one page, for developers and for the tests: each with its name above it.

import { PersonaCard } from "./persona-card.js";
import { byId } from "./demo-page.js";

/** @import { Profile } from "./persona-profile.js" */

/**
 * @typedef {object} State
 * @property {string} title
 * @property {string} [email]
 * @property {Partial<Profile>} [claims] of the server's answer; none while the card waits
 * @property {Partial<Profile>} [before] the profile from the cache
 * @property {"photo" | "dark" | "white" | "broken"} [picture]
 * @property {string[]} [attributes]
 * @property {"ltr" | "rtl"} [dir]
 * @property {string} [lang]
 * @property {boolean} [failed] whether the server reports an error
 * @property {boolean} [narrow]
 */

const ALICE = {
  name: "Alice Liddell",
  label: "Work",
  pronouns: "she/her",
  website: "https://alice.example/",
};
const LONG_NAME =
  "Alice Pleasance Liddell of Christ Church, Oxford, and of Lyndhurst in the New Forest";
const ARABIC = {
  name: "ليلى بنت عبد الله",
  label: "العمل",
  nickname: "ليلى",
  website: "https://layla.example",
};
const LONG_ARABIC = "عنوان العمل في الجامعة الأردنية في عمّان منذ سنوات طويلة جدا";
const LONG_LABEL = "The label of a card that has far more words than there is room for on a line";
const SIDE = 128;

/** @type {Record<string, State[]>} */
const GROUPS = {
  "Waiting and answers": [
    { title: "Waiting" },
    { title: "Waiting, with the profile of the last visit", before: ALICE, picture: "photo" },
    { title: "No answer, or an error", failed: true },
    { title: "An error, with the profile of the last visit", before: ALICE, failed: true },
    { title: "Answered: nothing stored", claims: {} },
    { title: "Answered: a name", claims: { name: "Alice Liddell" } },
    {
      title: "Answered: everything",
      claims: { ...ALICE, picture_alt: "Alice, laughing" },
      picture: "photo",
    },
  ],
  Choosing: [
    { title: "One of several", claims: ALICE, attributes: ["selectable"] },
    { title: "Selected", claims: ALICE, attributes: ["selectable", "selected"], picture: "photo" },
    { title: "Disabled", claims: ALICE, attributes: ["disabled"], picture: "photo" },
    {
      title: "Selected and disabled",
      claims: ALICE,
      attributes: ["selectable", "selected", "disabled"],
    },
  ],
  Pictures: [
    { title: "A dark logo without a ground", claims: { name: "Dark logo" }, picture: "dark" },
    { title: "A white logo without a ground", claims: { name: "White logo" }, picture: "white" },
    { title: "A picture that can’t be loaded", claims: { name: "Broken" }, picture: "broken" },
  ],
  "Long texts": [
    { title: "A long name", claims: { ...ALICE, name: LONG_NAME } },
    { title: "A name without a break", claims: { ...ALICE, name: "W".repeat(100) } },
    { title: "A long label", claims: { ...ALICE, label: LONG_LABEL } },
    {
      title: "A long local part",
      email: `${"a.long.local.part.".repeat(3)}end@example.com`,
      claims: {},
    },
    { title: "A long domain", email: `bob@${"a-part-of-a-long-domain.".repeat(3)}example`, claims: {} },
    {
      title: "Both are long",
      email: `${"a.long.local.part.".repeat(3)}end@${"a-part-of-a-long-domain.".repeat(3)}example`,
      claims: ALICE,
      picture: "photo",
    },
    {
      title: "A narrow place",
      claims: { ...ALICE, label: LONG_LABEL },
      picture: "photo",
      narrow: true,
    },
  ],
  "Languages and directions": [
    { title: "Right to left, on a page from left to right", dir: "ltr", claims: ARABIC },
    { title: "A long label from right to left", dir: "ltr", claims: { ...ARABIC, label: LONG_ARABIC } },
    {
      title: "Right to left, on such a page",
      dir: "rtl",
      lang: "ar",
      claims: ARABIC,
      picture: "photo",
    },
    { title: "A long label from left to right", dir: "rtl", claims: { ...ALICE, label: LONG_LABEL } },
    {
      title: "Long claims from left to right",
      dir: "rtl",
      claims: { ...ALICE, pronouns: LONG_NAME, label: "العمل" },
      attributes: ["selectable", "selected"],
    },
    {
      title: "Japanese",
      lang: "ja",
      claims: { name: "山田 花子", label: "勤務先", nickname: "はなちゃん" },
    },
    { title: "Emoji", claims: { name: "👩‍🚀 Ada", label: "🏠 Home" } },
    {
      title: "Many marks on a letter",
      claims: { name: `Z${"\u0301\u0330".repeat(20)}oe`, label: "Home" },
    },
  ],
};

/** A portrait, or a logo on a transparent ground, drawn here because a page of all states needs no files. */
function draw(/** @type {State["picture"]} */ kind) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = SIDE;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const circle = (/** @type {number[]} */ ...[x, y, radius]) => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  };
  if (kind === "photo") {
    context.fillStyle = "#f2b98a";
    context.fillRect(0, 0, SIDE, SIDE);
    context.fillStyle = "#3b2a4d";
    circle(64, 52, 26);
    circle(64, 132, 50);
  } else {
    context.fillStyle = kind === "white" ? "#fff" : "#000";
    circle(44, 64, 18);
    context.fillRect(70, 46, 24, 36);
  }
  return canvas.toDataURL("image/png");
}

/**
 * @param {State["picture"]} kind
 * @returns {Profile["picture"]}
 */
function pictureOf(kind) {
  if (!kind) {
    return null;
  }
  const thumbnail = kind === "broken" ? "data:image/png;base64,AAAA" : draw(kind);
  return /** @type {any} */ ({ id: kind, urls: {}, thumbnail });
}

/**
 * @param {PersonaCard} card
 * @param {State} state
 */
function play(card, { claims, before, picture, failed }) {
  const profile = (/** @type {Partial<Profile>} */ given) =>
    /** @type {any} */ ({ email: card.email, ...given, picture: pictureOf(picture) });
  card.profile = before ? profile(before) : null;
  if (failed) {
    card.await(Promise.reject(new Error("No answer.")));
  } else if (claims) {
    card.await(Promise.resolve(profile(claims)));
  }
}

/** @type {[PersonaCard, State][]} */
const cards = [];

/**
 * @param {State} state
 * @param {number} number
 */
function makeFigure(state, number) {
  const card = new PersonaCard();
  card.email = state.email ?? `alice.${number}@example.com`;
  card.dir = state.dir ?? "";
  card.lang = state.lang ?? "";
  for (const attribute of state.attributes ?? []) {
    card.setAttribute(attribute, "");
  }
  cards.push([card, state]);
  const caption = document.createElement("figcaption");
  caption.className = "hint";
  caption.textContent = state.title;
  const figure = document.createElement("figure");
  figure.className = state.narrow ? "state narrow" : "state";
  figure.append(caption, card);
  return figure;
}

/**
 * @param {string} title
 * @param {State[]} states
 */
function makeGroup(title, states) {
  const heading = document.createElement("h2");
  heading.textContent = title;
  const places = document.createElement("div");
  places.append(...states.map((state) => makeFigure(state, cards.length + 1)));
  const group = document.createElement("section");
  group.className = "group";
  group.append(heading, places);
  return group;
}

const playAll = () => cards.forEach(([card, state]) => play(card, state));

byId("groups").append(...Object.entries(GROUPS).map(([title, states]) => makeGroup(title, states)));
byId("looks").addEventListener("change", (event) => {
  const { name, checked } = /** @type {HTMLInputElement} */ (event.target);
  const root = document.documentElement;
  root.classList.toggle(name, checked);
  root.dir = root.classList.contains("rtl") ? "rtl" : "ltr";
  root.style.fontSize = root.classList.contains("large") ? "200%" : "";
});
byId("replay").addEventListener("click", () => {
  cards.forEach(([card]) => {
    card.profile = null;
  });
  setTimeout(playAll, 1000);
});
playAll();
