// Sign-in at an OpenID provider by redirect. persona-openid.d.ts is the reference.

import { ProfileError } from "./persona-profile.js";

/** @import * as declared from "./persona-openid.js" */

const ITEM = "persona-openid-request";

/** @type {typeof declared.beginSignIn} */
export async function beginSignIn(options) {
  const {
    client,
    authorizationEndpoint,
    issuer,
    clientId,
    redirectUri = `${location.origin}/`,
  } = options;
  const { scope = "openid email", loginHint, prompt, storage = sessionStorage, signal } = options;
  const { nonce } = await client.nonce({ signal });
  const state = randomText();
  storage.setItem(ITEM, JSON.stringify({ state, nonce, issuer }));
  const url = new URL(authorizationEndpoint);
  const parameters = {
    client_id: clientId,
    redirect_uri: redirectUri,
    response_type: "id_token",
    response_mode: "fragment",
    scope,
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

/** @type {typeof declared.takeAnswer} */
export function takeAnswer({ storage = sessionStorage } = {}) {
  const answer = new URLSearchParams(location.hash.slice(1));
  if (!answer.has("id_token") && !answer.has("error")) {
    return null;
  }
  // First of all, so that the token stays neither in the address bar nor in the history.
  history.replaceState(history.state, "", location.pathname + location.search);
  const request = requestOf(storage);
  if (!request || answer.get("state") !== request.state) {
    throw mismatch("This tab has sent no request with this state."); // a request under way goes on
  }
  storage.removeItem(ITEM);
  if (answer.has("iss") && answer.get("iss") !== request.issuer) {
    throw mismatch("The answer comes from another provider.");
  }
  if (answer.has("error")) {
    const isDenied = answer.get("error") === "access_denied";
    const message = `${answer.get("error")}: ${answer.get("error_description") ?? ""}`;
    throw new ProfileError(isDenied ? "sign_in_denied" : "sign_in_failed", message);
  }
  const idToken = answer.get("id_token") ?? "";
  const { iss, nonce, email = null } = claimsOf(idToken);
  if (iss !== request.issuer || nonce !== request.nonce) {
    throw mismatch("The token belongs to another request.");
  }
  return { idToken, email };
}

const mismatch = (/** @type {string} */ message) => new ProfileError("sign_in_mismatch", message);

/** Returns 128 random bits in base64url. */
function randomText() {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
}

/** @param {NonNullable<declared.BeginOptions["storage"]>} storage */
function requestOf(storage) {
  try {
    return JSON.parse(storage.getItem(ITEM) ?? "null");
  } catch {
    return null;
  }
}

/**
 * Returns the claims of a token, unverified: they show only whether the token answers the request of this tab.
 * @param {string} token
 */
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
