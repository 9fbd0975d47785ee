// Signing in at an OpenID provider by redirect, for pages. persona-openid.d.ts tells what everything means.

import { ProfileError } from "./persona-profile.js";

const ITEM = "persona-openid-request";

export async function beginSignIn(options) {
  const {
    client,
    authorizationEndpoint,
    issuer,
    clientId,
    redirectUri = `${location.origin}/`,
  } = options;
  const { loginHint, prompt, storage = sessionStorage, signal } = options;
  const { nonce } = await client.nonce({ signal });
  const state = randomText();
  storage.setItem(ITEM, JSON.stringify({ state, nonce, issuer }));
  const url = new URL(authorizationEndpoint);
  const parameters = {
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: "id_token",
    response_mode: "fragment",
    scope: "openid email",
    state,
    nonce,
    login_hint: loginHint,
    prompt,
  };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined) {
      url.searchParams.set(name, value);
    }
  }
  location.assign(url);
}

export function takeAnswer({ storage = sessionStorage } = {}) {
  const answer = new URLSearchParams(location.hash.slice(1));
  if (!answer.has("id_token") && !answer.has("error")) {
    return null;
  }
  // Before anything else: nobody is to find the token in the address bar, the history, or by going back.
  history.replaceState(history.state, "", location.pathname + location.search);
  const request = requestOf(storage);
  if (!request || answer.get("state") !== request.state) {
    throw mismatch("Its state is of no request of this tab."); // which, if there is one, goes on
  }
  storage.removeItem(ITEM);
  if (answer.has("iss") && answer.get("iss") !== request.issuer) {
    throw mismatch("Another provider has answered.");
  }
  if (answer.has("error")) {
    const isDenied = answer.get("error") === "access_denied";
    const message = `${answer.get("error")}: ${answer.get("error_description") ?? ""}`;
    throw new ProfileError(isDenied ? "sign_in_denied" : "sign_in_failed", message);
  }
  const idToken = answer.get("id_token");
  const { iss, nonce, email = null } = claimsOf(idToken);
  if (iss !== request.issuer || nonce !== request.nonce) {
    throw mismatch("The token is for another request.");
  }
  return { idToken, email };
}

const mismatch = (message) => new ProfileError("sign_in_mismatch", message);

/** 128 random bits. */
function randomText() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

function requestOf(storage) {
  try {
    return JSON.parse(storage.getItem(ITEM));
  } catch {
    return null;
  }
}

/** What a token says, which the server verifies; here it only tells whether this page has asked for it. */
function claimsOf(token) {
  try {
    const payload = atob(token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/"));
    const claims = JSON.parse(
      new TextDecoder().decode(Uint8Array.from(payload, (each) => each.charCodeAt(0))),
    );
    return claims ?? {};
  } catch {
    return {};
  }
}
