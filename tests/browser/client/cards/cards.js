// The page of the card tests: `window` has everything that they use.

import * as cards from "/static/persona-card.js";
import { loadPicture } from "/static/persona-card-picture.js";

/** A client for a deck, with the answers of the tests' server. */
class Client extends EventTarget {
  session = null;
  calls = 0;

  /** Returns an error like those of the real client. */
  static failure(status, retryAfter) {
    return Object.assign(new Error(`Status ${status}`), {
      code: status ? `status_${status}` : "no_answer",
      status,
      retryAfter,
      isTemporary: status === null || status >= 500 || status === 429,
    });
  }

  async profiles({ signal } = {}) {
    this.calls += 1;
    const response = await fetch("/profiles", { signal }).catch(() => {
      throw Client.failure(null, null);
    });
    if (!response.ok) {
      throw Client.failure(response.status, Number(response.headers.get("Retry-After")) || null);
    }
    return (await response.json()).profiles;
  }

  /** Opens a session, or ends it with null. */
  enter(session) {
    this.session = session;
    this.dispatchEvent(new Event("session"));
  }
}

const container = document.getElementById("cards");
const seen = { chosen: [], states: [], violations: [], shifts: [] };

addEventListener("choose", ({ detail }) => seen.chosen.push(detail.email));
addEventListener("securitypolicyviolation", (event) => seen.violations.push(event.violatedDirective));
container.addEventListener("statechange", ({ target }) =>
  seen.states.push([target.email, target.state]),
);
new PerformanceObserver((list) => {
  for (const { value, sources } of list.getEntries()) {
    seen.shifts.push({
      value,
      moved: sources.map(({ node }) => node?.id || node?.className || node?.nodeName),
    });
  }
}).observe({ type: "layout-shift", buffered: true });

const client = new Client();
Object.assign(window, {
  ...cards,
  loadPicture,
  client,
  container,
  seen,

  /** Adds a card with attributes; `card.answer(profile)` or `card.fail(code)` answers it. */
  addCard(email, attributes = {}) {
    const card = document.createElement("persona-card");
    card.email = email;
    for (const [name, value] of Object.entries(attributes)) {
      card.setAttribute(name, value);
    }
    container.append(card);
    card.done = card.await(
      new Promise((resolve, reject) => {
        card.answer = resolve;
        card.fail = (code) => reject(Object.assign(new Error(code), { code }));
      }),
    );
    return card;
  },

  /** A part within a card. */
  part: (card, selector) => card.shadowRoot.querySelector(selector),

  /** Resolves when changes are painted, and their layout shifts reported. */
  painted: () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve, 50))),
});

// The dialog opens while it is parsed: cards of the cache, then the server's.
if (location.hash === "#deck") {
  window.deck = new cards.CardDeck({
    client,
    container,
    emails: ["alice@example.com", "bob@example.org"],
  });
  window.deck.open();
  performance.mark("cards");
  window.deck.refresh();
}
window.ready = true;
