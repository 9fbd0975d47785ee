// A client of the API of a profile server. persona-profile.d.ts is the reference.

import {
  Call,
  MAX_TIMER_MS,
  PROCESSING,
  ProfileError,
  aborted,
  demand,
  exchange,
  isLost,
  isText,
  profileKeyOf,
  profileKeysOf,
  profileOf,
  profilesOf,
  sessionOf,
  viaFetch,
  viaXhr,
} from "./persona-profile-transport.js";
import { cropQuery, demandReadable, reduce } from "./persona-profile-pictures.js";

export { ProfileError, reduce };

/** @import * as declared from "./persona-profile.js" */
/** @import * as types from "./persona-profile-internals.js" */
/** @typedef {declared.ProfileClient} Client */

const TIMEOUT_MS = 8000;
const MAX_STATES = 8; // remembered of each profile
const MAX_CONFLICTS = 4; // in a row, before update fails

/** @param {string | null} [claim] as the server stores it */
const tidy = (claim) => claim?.normalize("NFC").trim() || null;

const signedOut = () => aborted("The session of the call has ended.");

/** @type {types.CanMerge} Whether each claim still has the value of the base, or already has the new value. */
const canMerge = (claims, base, current) =>
  Object.entries(claims).every(([name, wanted]) =>
    [base[name], tidy(wanted)].includes(current[name] ?? null),
  );

/**
 * Returns a function that reports progress, whose errors do not end the call.
 * @param {((progress: declared.Progress) => void) | undefined} onProgress
 * @returns {(progress: declared.Progress) => void}
 */
const safely = (onProgress) => (progress) => {
  try {
    onProgress?.(progress);
  } catch (error) {
    reportError(error);
  }
};

/** @type {types.Sending} */
const sending = (timeout, body, report, stallAfter) => ({
  body,
  // The server looks at the content, and rejects a type that is no picture's.
  type: body.type.startsWith("image/") ? body.type : "application/octet-stream",
  send: viaXhr(timeout, report, stallAfter),
});

/** @type {types.WhileReadable} */
async function whileReadable(file, request) {
  try {
    return await request;
  } catch (error) {
    if (isLost(error.code)) {
      await demandReadable(file);
    }
    throw error;
  }
}

/** @implements {Client} */
export class ProfileClient extends EventTarget {
  #timeout;
  #storage;
  #storageKey;
  #thumbnails;
  /** @type {declared.Session | null} */
  #session = null;
  #olderToken = "";
  #timer = 0;
  /** @type {BroadcastChannel | null} Reaches the clients of other tabs during a session. */
  #channel = null;
  /** @type {Set<Call>} The calls that use the session, and end with it. */
  #calls = new Set();
  /** @type {Call | null} The newest sign-in; only its answer may replace the session. */
  #opening = null;
  /** @type {Map<string, declared.Profile[]>} The last states of each profile, the latest first. */
  #seen = new Map();

  /** @param {declared.ClientOptions} options */
  constructor({ origin, timeout = TIMEOUT_MS, storage = null, thumbnails = 128 }) {
    super();
    this.origin = new URL(origin).origin;
    this.#timeout = timeout;
    this.#storage = storage;
    this.#storageKey = `persona-profile-session ${this.origin}`;
    this.#thumbnails = thumbnails;
    try {
      this.#session = sessionOf(JSON.parse(storage?.getItem(this.#storageKey) ?? "null"));
    } catch {
      // No session is stored, or none that is valid.
    }
    this.#watchSession();
  }

  get session() {
    const isOpen = this.#session && Date.parse(this.#session.expires_at) > Date.now();
    return isOpen ? structuredClone(this.#session) : null;
  }

  /** @type {Client["nonce"]} */
  nonce({ signal } = {}) {
    return this.#outside(signal, (call) =>
      this.#json(call, "POST", "/v1/nonces", { token: null }, ({ nonce, expires_at }) => {
        demand(isText(nonce) && Date.parse(expires_at));
        return { nonce, expires_at };
      }),
    );
  }

  /** @type {Client["signIn"]} */
  signIn(proofs, { profileKey, keep = true, signal } = {}) {
    return this.#outside(signal, async (call) => {
      this.#opening?.end(aborted("A newer sign-in replaced this one."));
      this.#opening = call;
      const json = {
        proofs: proofs.map((proof) => (isText(proof) ? { assertion: proof } : proof)),
        profile_key: profileKey,
        thumbnails: this.#thumbnails,
      };
      // Safe to repeat: the server accepts a proof once, so no second session opens.
      const open = (/** @type {string | null} */ token) =>
        this.#json(call, "POST", "/v1/sessions", { json, token }, (answer) => {
          const profiles = profilesOf(answer);
          const emails = profiles.map(({ email }) => email);
          return { profiles, session: sessionOf({ ...answer, emails }) };
        });
      const kept = (keep && this.session?.token) || null;
      const { session, profiles } = await open(kept).catch((error) => {
        // The session to keep has ended, which uses up no proof.
        if (kept && error.code.startsWith("session_")) {
          return open(null);
        }
        throw error;
      });
      call.check();
      if (!this.#session?.emails.every((email) => session.emails.includes(email))) {
        this.#leaveSession(); // another person's
      }
      this.#setSession(session);
      return profiles.map((profile) => this.#remember(profile));
    });
  }

  /** @type {Client["signOut"]} */
  async signOut({ signal } = {}) {
    const { token, emails } = this.session ?? {};
    this.#opening?.end(signedOut());
    if (token) {
      this.#channel?.postMessage({ signedOut: emails });
    }
    this.#setSession(null);
    if (token) {
      await this.#outside(signal, async (call) => {
        try {
          await this.#request(call, "DELETE", "/v1/sessions", { token });
        } catch (error) {
          if (error.status !== 401) {
            throw error;
          } // else it had ended before, or the first answer was lost
        }
      });
    }
  }

  /** @type {Client["profiles"]} */
  profiles({ signal } = {}) {
    const query = this.#thumbnails ? `?thumbnails=${this.#thumbnails}` : "";
    return this.#call(signal, async (call) => {
      for (;;) {
        const token = this.#currentToken();
        const profiles = await this.#json(call, "GET", `/v1/profiles${query}`, { token }, profilesOf);
        call.check();
        if (token === this.#currentToken()) {
          return profiles.map((profile) => this.#remember(profile));
        } // else an address was added meanwhile, which the list lacks
      }
    });
  }

  /** @type {Client["profile"]} */
  profile(email, { signal } = {}) {
    return this.#call(signal, (call) => this.#profile(call, "GET", email));
  }

  /** @type {Client["update"]} */
  update(email, claims, { etag, signal } = {}) {
    const states = this.#seen.get(email.toLowerCase()) ?? [];
    const base =
      etag === undefined ? states[0] : (states.find((state) => state.etag === etag) ?? { etag });
    return this.#call(signal, async (call) => {
      let match = base?.etag;
      for (let conflicts = 1; ; conflicts += 1) {
        try {
          const type = "application/merge-patch+json";
          return await this.#profile(call, "PATCH", email, { json: claims, type, match });
        } catch (error) {
          if (error.code !== "precondition_failed") {
            throw error;
          }
          const current = await this.#profile(call, "GET", email);
          if (conflicts === MAX_CONFLICTS || !canMerge(claims, base, current)) {
            throw new ProfileError(error.code, error.message, { ...error, current });
          }
          match = current.etag;
        }
      }
    });
  }

  /** @type {Client["takeSuggestions"]} */
  async takeSuggestions({ email, etag, suggestions = {} }, { signal } = {}) {
    const { claims, picture } = suggestions;
    const named = claims ? await this.update(email, claims, { etag, signal }) : null;
    if (named?.picture || !picture) {
      return named ?? this.profile(email, { signal });
    }
    const take = async (/** @type {Call} */ call) => {
      try {
        const request = { json: { suggestion: picture }, match: named?.etag ?? etag };
        return await this.#profile(call, "PUT", email, request, "/picture");
      } catch (error) {
        const isChanged = error.code === "precondition_failed";
        const current = isChanged ? await this.#profile(call, "GET", email) : named;
        if (current?.picture) {
          return current; // the person's own; or this one, whose first answer was lost
        }
        throw new ProfileError(error.code, error.message, { ...error, current });
      }
    };
    return this.#call(signal, take, PROCESSING * this.#timeout);
  }

  /** @type {Client["uploadPicture"]} */
  uploadPicture(email, file, options = {}) {
    const { crop = null, onProgress, reduce: isReduced = true, signal, stallAfter } = options;
    const report = safely(onProgress);
    const work = async (/** @type {Call} */ call) => {
      this.#currentToken();
      /** @type {declared.Reduced} */
      let { blob, side } = { blob: file, side: null };
      if (isReduced) {
        report({ phase: "reducing", sent: 0, total: 0 });
        ({ blob, side } = await reduce(file, crop, call.signal));
      }
      const query = crop && side === null ? cropQuery(crop) : "";
      const request = sending(this.#timeout, blob, report, stallAfter);
      return whileReadable(file, this.#profile(call, "PUT", email, request, `/picture${query}`));
    };
    return this.#call(signal, work, Infinity);
  }

  /** @type {Client["previewPicture"]} */
  previewPicture(email, file, { onProgress, signal, stallAfter } = {}) {
    const work = async (/** @type {Call} */ call) => {
      const request = sending(this.#timeout, file, safely(onProgress), stallAfter);
      const path = this.#path(email, "/picture/preview");
      const answer = await whileReadable(file, this.#request(call, "POST", path, request));
      if (!answer.header("Content-Type")?.startsWith("image/")) {
        throw new ProfileError("answer_invalid", "The answer is no image.", { status: answer.status });
      }
      return answer.body;
    };
    return this.#call(signal, work, Infinity);
  }

  /** @type {Client["removePicture"]} */
  removePicture(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      await this.#request(call, "DELETE", this.#path(email, "/picture"));
      return this.#profile(call, "GET", email);
    });
  }

  /** @type {Client["setProfileKey"]} */
  setProfileKey(email, key, { signal } = {}) {
    return this.#call(signal, async (call) => {
      const path = this.#path(email, "/profile-key");
      const change = (/** @type {string} */ token) => {
        // Not repeatable: the present session may not open the profile with its new key.
        const options = { json: { profile_key: key }, token, isRepeatable: false };
        return this.#json(call, "PUT", path, options, (answer) => {
          const emails = this.#session?.emails ?? [];
          return { profile: profileOf(answer.profile), session: sessionOf({ ...answer, emails }) };
        });
      };
      let token = this.#currentToken();
      const { session, profile } = await change(token).catch((error) => {
        // Other profiles of the session may still have the key before the last change.
        if (this.#olderToken && error.code.startsWith("profile_key_")) {
          token = this.#olderToken;
          return change(token);
        }
        throw error;
      });
      call.check();
      this.#olderToken = token;
      this.#setSession(session);
      return this.#remember(profile);
    });
  }

  /** @type {Client["profileKeys"]} */
  profileKeys(email, { signal } = {}) {
    return this.#call(signal, (call) =>
      this.#json(call, "GET", this.#path(email, "/profile-keys"), {}, profileKeysOf),
    );
  }

  /** @type {Client["addProfileKey"]} */
  addProfileKey(email, key, { signal } = {}) {
    const options = { json: { profile_key: key } };
    return this.#call(signal, (call) =>
      this.#json(call, "POST", this.#path(email, "/profile-keys"), options, profileKeyOf),
    );
  }

  /** @type {Client["removeProfileKey"]} */
  removeProfileKey(email, id, { signal } = {}) {
    return this.#call(signal, async (call) => {
      const path = this.#path(email, `/profile-keys/${encodeURIComponent(id)}`);
      await this.#request(call, "DELETE", path);
    });
  }

  /** @type {Client["remove"]} */
  remove(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      await this.#request(call, "DELETE", this.#path(email));
      this.#seen.delete(email.toLowerCase());
    });
  }

  /** @type {Client["export"]} */
  export(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      const { body, status, header } = await this.#request(call, "GET", this.#path(email, "/export"));
      if (!header("Content-Type")?.startsWith("application/zip")) {
        throw new ProfileError("answer_invalid", "The answer is no zip.", { status });
      }
      return body;
    });
  }

  /** @type {Client["service"]} */
  service({ signal } = {}) {
    return this.#outside(signal, (call) =>
      this.#json(call, "GET", "/v1/", { token: null }, (answer) => {
        demand(isText(answer.name) && isText(answer.version));
        return answer;
      }),
    );
  }

  /** @type {types.Run} The call ends with the session: no late answer reaches the next session. */
  #call(signal, work, milliseconds) {
    const inSession = async (/** @type {Call} */ call) => {
      this.#calls.add(call);
      return work(call);
    };
    return this.#outside(signal, inSession, milliseconds);
  }

  /** @type {types.Run} The call outlives the session. */
  async #outside(signal, work, milliseconds = this.#timeout) {
    const call = new Call(milliseconds, signal);
    try {
      return await work(call);
    } finally {
      call.close();
      this.#calls.delete(call);
      if (this.#opening === call) {
        this.#opening = null;
      }
    }
  }

  /** @param {string} email */
  #path(email, more = "") {
    return `/v1/profiles/${encodeURIComponent(email)}${more}`;
  }

  /** @type {types.RequestProfile} */
  async #profile(call, method, email, options, more) {
    return this.#remember(await this.#json(call, method, this.#path(email, more), options, profileOf));
  }

  /** @type {types.RequestJson} */
  async #json(call, method, path, options, shape) {
    const { body, status, header } = await this.#request(call, method, path, options);
    const text = await body.text();
    call.check();
    try {
      return shape(JSON.parse(text));
    } catch (cause) {
      const requestId = header("X-Request-Id");
      throw new ProfileError("answer_invalid", "Not an answer of this API.", {
        status,
        requestId,
        cause,
      });
    }
  }

  /** @type {types.Request} */
  async #request(call, method, path, options = {}) {
    const {
      json,
      body = json ? JSON.stringify(json) : undefined,
      type = "application/json",
      match,
    } = options;
    const { token = this.#currentToken(), isRepeatable = true, send = viaFetch } = options;
    const headers = {
      ...(body && { "Content-Type": type }),
      ...(match && { "If-Match": match }),
      ...(token && { Authorization: `Bearer ${token}` }),
    };
    try {
      return await exchange(call, this.origin + path, { method, headers, body }, isRepeatable, send);
    } catch (error) {
      const isOver = error.status === 401 && error.code.startsWith("session_");
      if (isOver && token && token === this.#session?.token) {
        this.#setSession(null);
      }
      throw error;
    }
  }

  #currentToken() {
    const { session } = this;
    if (!session) {
      throw new ProfileError("session_missing", "Nobody is signed in.");
    }
    return session.token;
  }

  /** @param {declared.Session | null} session */
  #setSession(session) {
    const isChanged = this.#session !== session;
    this.#session = session;
    if (!session) {
      this.#leaveSession();
    }
    try {
      if (session) {
        this.#storage?.setItem(this.#storageKey, JSON.stringify(session));
      } else {
        this.#storage?.removeItem(this.#storageKey);
      }
    } catch {
      // The storage is full or forbidden: the session lives in memory.
    }
    this.#watchSession();
    if (isChanged) {
      this.dispatchEvent(new Event("session"));
    }
  }

  /** Ends the calls of the session, and forgets its profiles. */
  #leaveSession() {
    const ended = signedOut();
    this.#calls.forEach((call) => call.end(ended));
    this.#calls.clear();
    this.#olderToken = "";
    this.#seen.clear();
  }

  /** Waits for the end of the session: its expiry, or a sign-out in another tab. */
  #watchSession() {
    clearTimeout(this.#timer);
    if (!this.#session) {
      this.#channel?.close();
      this.#channel = null;
      return;
    }
    const left = Date.parse(this.#session.expires_at) - Date.now();
    const look = () => (this.session ? this.#watchSession() : this.#setSession(null));
    this.#timer = setTimeout(look, Math.min(left, MAX_TIMER_MS));
    try {
      this.#channel ??= new BroadcastChannel(this.#storageKey);
      this.#channel.onmessage = ({ data }) => this.#noteSignOut(data?.signedOut);
    } catch {
      // Forbidden: then only the server ends the sessions of other tabs.
    }
  }

  /** @param {unknown} emails signed out in another tab, perhaps without an answer of the server */
  #noteSignOut(emails) {
    if (Array.isArray(emails) && this.#session?.emails.some((email) => emails.includes(email))) {
      this.#opening?.end(signedOut());
      this.#setSession(null);
    }
  }

  /** @param {declared.Profile} profile */
  #remember(profile) {
    const key = profile.email.toLowerCase();
    const states = this.#seen.get(key) ?? [];
    const { picture } = profile;
    const last = states[0]?.picture;
    if (picture && last?.thumbnail && picture.id === last.id) {
      picture.thumbnail ??= last.thumbnail; // only lists have thumbnails
    }
    const others = states.filter(({ etag }) => etag !== profile.etag);
    this.#seen.set(key, [structuredClone(profile), ...others].slice(0, MAX_STATES));
    return profile;
  }
}
