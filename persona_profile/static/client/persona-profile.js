// The API of a persona profile server, for pages. persona-profile.d.ts tells what everything means.

import {
  Call,
  ProfileError,
  aborted,
  demand,
  exchange,
  isText,
  profileOf,
  sessionOf,
  viaFetch,
  viaXhr,
} from "./persona-profile-transport.js";

export { ProfileError };

const TIMEOUT_MS = 8000;
const REDUCING_MS = 60_000; // then the picture goes as it is
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const REMEMBERED = 8; // states of each profile
const CONFLICTS = 4; // in a row, until update gives up

/** A claim as the server keeps it, to tell whether it has it already. */
const tidy = (claim) => claim?.normalize("NFC").trim() || null;

const signedOut = () => aborted("The session of the call is over.");

/** Whether none of the claims was changed meanwhile to something else than what is wanted. */
const canMerge = (claims, base, current) =>
  Object.entries(claims).every(([name, wanted]) =>
    [base[name], tidy(wanted)].includes(current[name] ?? null),
  );

export class ProfileClient extends EventTarget {
  #timeout;
  #storage;
  #storageKey;
  #thumbnails;
  #session = null;
  #olderToken = null;
  #timer;
  /** Reaches the clients of other tabs while there is a session. */
  #channel = null;
  /** The calls that use the session: they end with it. */
  #calls = new Set();
  /** The call of the newest sign-in, whose answer alone may replace the session. */
  #opening = null;
  /** The last states of each profile, the latest first. */
  #seen = new Map();

  constructor({ origin, timeout = TIMEOUT_MS, storage = null, thumbnails = 128 }) {
    super();
    /** @readonly */
    this.origin = new URL(origin).origin;
    this.#timeout = timeout;
    this.#storage = storage;
    this.#storageKey = `persona-profile-session ${this.origin}`;
    this.#thumbnails = thumbnails;
    try {
      this.#session = sessionOf(JSON.parse(storage.getItem(this.#storageKey)));
    } catch {
      // Nothing is there, or nothing of use.
    }
    this.#watchSession();
  }

  get session() {
    const isOpen = this.#session && Date.parse(this.#session.expires_at) > Date.now();
    return isOpen ? structuredClone(this.#session) : null;
  }

  nonce({ signal } = {}) {
    return this.#outside(signal, (call) =>
      this.#json(call, "POST", "/v1/nonces", { token: null }, ({ nonce, expires_at }) => {
        demand(isText(nonce) && Date.parse(expires_at));
        return { nonce, expires_at };
      }),
    );
  }

  signIn(proofs, { profileKey, keep = true, signal } = {}) {
    return this.#outside(signal, async (call) => {
      this.#opening?.end(aborted("A newer sign-in took over."));
      this.#opening = call;
      const json = { proofs: proofs.map((proof) => (isText(proof) ? { assertion: proof } : proof)) };
      json.profile_key = profileKey;
      json.thumbnails = this.#thumbnails;
      // To repeat this is safe: a proof that was accepted is refused, so that no second session opens.
      const open = (token) =>
        this.#json(call, "POST", "/v1/sessions", { json, token }, (answer) => {
          const profiles = answer.profiles.map(profileOf);
          const emails = profiles.map(({ email }) => email);
          return { profiles, session: sessionOf({ ...answer, emails }) };
        });
      const kept = (keep && this.session?.token) || null;
      const { session, profiles } = await open(kept).catch((error) => {
        // The session to be kept is over, which uses up no proof.
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
          } // else it was over already, or the answer to the first try was lost
        }
      });
    }
  }

  profiles({ signal } = {}) {
    const query = this.#thumbnails ? `?thumbnails=${this.#thumbnails}` : "";
    return this.#call(signal, async (call) => {
      const read = (answer) => answer.profiles.map(profileOf);
      for (;;) {
        const token = this.#tokenNow();
        const profiles = await this.#json(call, "GET", `/v1/profiles${query}`, { token }, read);
        call.check();
        if (token === this.#tokenNow()) {
          return profiles.map((profile) => this.#remember(profile));
        } // else an address was added meanwhile: the list lacks it
      }
    });
  }

  profile(email, { signal } = {}) {
    return this.#call(signal, (call) => this.#profile(call, "GET", email));
  }

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
          if (conflicts === CONFLICTS || !canMerge(claims, base, current)) {
            throw new ProfileError(error.code, error.message, { ...error, current });
          }
          match = current.etag;
        }
      }
    });
  }

  uploadPicture(email, file, { crop = null, onProgress, reduce: isReduced = true, signal } = {}) {
    const tell = (progress) => {
      try {
        onProgress?.(progress);
      } catch (error) {
        reportError(error);
      }
    };
    return this.#call(
      signal,
      async (call) => {
        this.#tokenNow();
        let [blob, side] = [file, null];
        if (isReduced) {
          tell({ phase: "reducing", sent: 0, total: 0 });
          ({ blob, side } = await reduce(file, crop, call.signal));
        }
        const { left, top, side: length } = crop ? wholePixels(crop) : {};
        const square = crop && side === null ? `?crop=${[left, top, length]}` : "";
        // The server looks at the content; a type that is wrong would be refused.
        const type = blob.type.startsWith("image/") ? blob.type : "application/octet-stream";
        const send = (...request) => viaXhr(...request, this.#timeout, tell);
        try {
          return await this.#profile(
            call,
            "PUT",
            email,
            { body: blob, type, send },
            `/picture${square}`,
          );
        } catch (error) {
          if (error.code === "no_answer") {
            await demandReadable(file);
          }
          throw error;
        }
      },
      Infinity,
    );
  }

  removePicture(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      await this.#request(call, "DELETE", this.#path(email, "/picture"));
      return this.#profile(call, "GET", email);
    });
  }

  setProfileKey(email, key, { signal } = {}) {
    return this.#call(signal, async (call) => {
      // A lost answer is not asked for again: the session at hand may no longer open what is sealed anew.
      const change = (token) =>
        this.#json(
          call,
          "PUT",
          this.#path(email, "/profile-key"),
          { json: { profile_key: key }, token, isRepeatable: false },
          (answer) => {
            const emails = this.#session?.emails ?? [];
            return { profile: profileOf(answer.profile), session: sessionOf({ ...answer, emails }) };
          },
        );
      let token = this.#tokenNow();
      const { session, profile } = await change(token).catch((error) => {
        // Other profiles of the session may still be under the key that the last change replaced.
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

  remove(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      await this.#request(call, "DELETE", this.#path(email));
      this.#seen.delete(email.toLowerCase());
    });
  }

  export(email, { signal } = {}) {
    return this.#call(signal, async (call) => {
      const { body, status, header } = await this.#request(call, "GET", this.#path(email, "/export"));
      if (!header("Content-Type")?.startsWith("application/zip")) {
        throw new ProfileError("answer_invalid", "The answer is no zip.", { status });
      }
      return body;
    });
  }

  service({ signal } = {}) {
    return this.#outside(signal, (call) =>
      this.#json(call, "GET", "/v1/", { token: null }, (answer) => {
        demand(isText(answer.name) && isText(answer.version));
        return answer;
      }),
    );
  }

  /** Runs a call that uses the session, and ends with it: a late answer changes nothing of the next one. */
  #call(signal, work, milliseconds) {
    return this.#outside(
      signal,
      async (call) => {
        this.#calls.add(call);
        return work(call);
      },
      milliseconds,
    );
  }

  /** Runs a call that outlives the session. */
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

  #path(email, more = "") {
    return `/v1/profiles/${encodeURIComponent(email)}${more}`;
  }

  async #profile(call, method, email, options, more) {
    return this.#remember(await this.#json(call, method, this.#path(email, more), options, profileOf));
  }

  async #json(call, method, path, options, shape) {
    const { body, status, header } = await this.#request(call, method, path, options);
    const text = await body.text();
    call.check();
    try {
      return shape(JSON.parse(text));
    } catch (cause) {
      const requestId = header("X-Request-Id");
      throw new ProfileError("answer_invalid", "Not what this API answers.", {
        status,
        requestId,
        cause,
      });
    }
  }

  async #request(call, method, path, options = {}) {
    const { json, body = json && JSON.stringify(json), type = "application/json", match } = options;
    const { token = this.#tokenNow(), isRepeatable = true, send = viaFetch } = options;
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

  #tokenNow() {
    const { session } = this;
    if (!session) {
      throw new ProfileError("session_missing", "Nobody is signed in.");
    }
    return session.token;
  }

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
      // Full, or forbidden: then it lives in memory alone.
    }
    this.#watchSession();
    if (isChanged) {
      this.dispatchEvent(new Event("session"));
    }
  }

  /** Ends what was begun in the session, and forgets what it showed. */
  #leaveSession() {
    const ended = signedOut();
    this.#calls.forEach((call) => call.end(ended));
    this.#calls.clear();
    this.#olderToken = null;
    this.#seen.clear();
  }

  /** Waits for the end of the session: its time, or a sign-out in another tab. */
  #watchSession() {
    clearTimeout(this.#timer);
    if (!this.#session) {
      this.#channel?.close();
      this.#channel = null;
      return;
    }
    const left = Date.parse(this.#session.expires_at) - Date.now();
    const look = () => (this.session ? this.#watchSession() : this.#setSession(null));
    this.#timer = setTimeout(look, Math.min(left, LONGEST_TIMER_MS));
    try {
      this.#channel ??= new BroadcastChannel(this.#storageKey);
      this.#channel.onmessage = ({ data }) => this.#noteSignOut(data?.signedOut);
    } catch {
      // Forbidden: then the server alone ends the sessions of other tabs.
    }
  }

  /** A sign-out ends every session of its emails, whether or not the server has answered the other tab. */
  #noteSignOut(emails) {
    if (Array.isArray(emails) && this.#session?.emails.some((email) => emails.includes(email))) {
      this.#opening?.end(signedOut());
      this.#setSession(null);
    }
  }

  #remember(profile) {
    const key = profile.email.toLowerCase();
    const states = this.#seen.get(key) ?? [];
    const { picture } = profile;
    const last = states[0]?.picture;
    if (picture && last?.thumbnail && picture.id === last.id) {
      picture.thumbnail ??= last.thumbnail; // only lists bring one
    }
    const others = states.filter(({ etag }) => etag !== profile.etag);
    this.#seen.set(key, [structuredClone(profile), ...others].slice(0, REMEMBERED));
    return profile;
  }
}

/** Cut off, as what lies inside of the picture then stays there. */
const wholePixels = ({ left, top, side }) => ({
  left: Math.trunc(left),
  top: Math.trunc(top),
  side: Math.trunc(side),
});

async function demandReadable(file) {
  try {
    await (file.size ? file.slice(0, 1) : file).arrayBuffer();
  } catch (cause) {
    throw new ProfileError("file_unreadable", "The file was moved, changed or deleted.", { cause });
  }
}

export async function reduce(file, crop = null, signal) {
  const end = new AbortController();
  const stopped = new Promise((_, reject) => {
    const stop = () => reject(aborted());
    signal?.addEventListener("abort", stop, { signal: end.signal });
    if (signal?.aborted) {
      stop();
    }
  });
  const late = new Promise((resolve) => {
    const timer = setTimeout(resolve, REDUCING_MS);
    end.signal.addEventListener("abort", () => clearTimeout(timer));
  });
  const square = crop && wholePixels(crop);
  const job = demandReadable(file).then(() => reduceInWorker(file, square, end.signal));
  try {
    return (await Promise.race([stopped, job, late])) ?? { blob: file, side: null };
  } finally {
    end.abort();
  }
}

/** Runs the reduction in a worker until `signal` ends it, or on this thread where no worker starts. */
async function reduceInWorker(file, crop, signal) {
  if (signal.aborted) {
    return null;
  }
  let worker;
  try {
    const options = { type: "module", name: "persona-profile-reduction" };
    worker = new Worker(new URL("./persona-profile-reduction.js", import.meta.url), options);
  } catch {
    return reduceHere(file, crop); // these modules are of another origin
  }
  signal.addEventListener("abort", () => worker.terminate());
  const done = new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = worker.onmessageerror = reject; // a policy of the page forbids it
  });
  worker.postMessage({ file, crop });
  return done.catch((event) => {
    event.preventDefault();
    return signal.aborted ? null : reduceHere(file, crop);
  });
}

async function reduceHere(file, crop) {
  try {
    const { reducePicture } = await import("./persona-profile-reduction.js");
    return await reducePicture(file, crop);
  } catch {
    return null;
  }
}
