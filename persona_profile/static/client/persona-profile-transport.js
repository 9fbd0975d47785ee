// Requests and answers of persona-profile.js: errors, time limits, retries, shapes.

/** @import * as declared from "./persona-profile.js" */
/** @import * as types from "./persona-profile-internals.js" */

import { CLAIMS } from "./persona-claims.js";

export const MAX_TIMER_MS = 2 ** 31 - 1;

const STALL_MS = 15_000; // without a byte, after which progress is stalled
const SILENCE = 8; // timeouts without a byte sent, after which an upload ends
export const PROCESSING = 6; // timeouts until the answer to an upload
// Bytes that count as sent may wait in the system, which sends them at the pace of the line.
const MAX_BUFFERED_BYTES = 2 ** 20;
const SLOW_BYTES_PER_MS = 16;
const RETRY_MS = 250;
/** Codes of requests without an answer. */
const LOST_CODES = ["no_answer", "offline"];
const TEMPORARY_CODES = [...LOST_CODES, "timeout", "issuer_unreachable", "key_unknown"];
const TEMPORARY_STATUSES = [409, 429, 502, 503, 504];

/** @implements {declared.ProfileError} */
export class ProfileError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {declared.ErrorMembers} [members]
   */
  constructor(code, message, members = {}) {
    super(message, { cause: members.cause });
    this.name = "ProfileError";
    this.code = code;
    this.status = members.status ?? null;
    this.errors = Array.isArray(members.errors) ? members.errors : [];
    this.limit = members.limit ?? null;
    this.details = members.details ?? {};
    this.retryAfter = members.retryAfter ?? null;
    this.requestId = members.requestId ?? null;
    this.current = members.current ?? null;
    this.isTemporary = TEMPORARY_CODES.includes(code) || TEMPORARY_STATUSES.includes(this.status ?? 0);
  }
}

export const aborted = (reason = "The signal of the call ended it.") =>
  new ProfileError("aborted", reason);

/** @param {string | undefined} code */
export const isLost = (code) => LOST_CODES.includes(code ?? "");

/**
 * Returns the error of a request that got no answer. `onLine` only words it: it is false also behind some VPNs,
 * and for a server on this machine.
 * @param {unknown} [cause]
 */
const noAnswer = (cause) =>
  navigator.onLine === false
    ? new ProfileError("offline", "No server answered, and the browser reports that it is offline.", {
        cause,
      })
    : new ProfileError("no_answer", "No server answered, or this page may not read its answer.", {
        cause,
      });

/** One call of a method: the time limit of all its requests, and its abort signal. */
export class Call {
  #controller = new AbortController();
  #outer;
  #timer = 0;
  #deadline = 0;
  #onAbort = () => this.end(aborted());

  /**
   * @param {number} milliseconds
   * @param {AbortSignal} [signal]
   */
  constructor(milliseconds, signal) {
    this.#outer = signal;
    this.allow(milliseconds);
    signal?.addEventListener("abort", this.#onAbort);
    if (signal?.aborted) {
      this.#onAbort();
    }
  }

  get signal() {
    return this.#controller.signal;
  }

  get millisecondsLeft() {
    return this.#deadline - performance.now();
  }

  /** @param {number} milliseconds from now to the deadline */
  allow(milliseconds) {
    clearTimeout(this.#timer);
    this.#deadline = performance.now() + milliseconds;
    if (milliseconds <= MAX_TIMER_MS) {
      const end = () => this.end(new ProfileError("timeout", "There was no answer in time."));
      this.#timer = setTimeout(end, milliseconds);
    }
  }

  /** Throws the error that ended the call, if it has ended. */
  check() {
    if (this.signal.aborted) {
      throw this.signal.reason;
    }
  }

  /** @param {number} milliseconds */
  async wait(milliseconds) {
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.signal.addEventListener("abort", () => resolve(clearTimeout(timer)));
    });
    this.check();
  }

  close() {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#onAbort);
  }

  /** @param {ProfileError} error thrown by the request under way and every later `check` */
  end(error) {
    this.#controller.abort(error);
  }
}

/** @type {types.Send} */
export async function viaFetch(call, url, message) {
  try {
    const answer = await fetch(url, {
      ...message,
      signal: call.signal,
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
    return {
      status: answer.status,
      header: (name) => answer.headers.get(name),
      body: await answer.blob(),
    };
  } catch (cause) {
    call.check();
    throw noAnswer(cause);
  }
}

/** @type {types.SendByXhr} XMLHttpRequest reports how many bytes have left. */
export const viaXhr =
  (timeout, onProgress, stallAfter = STALL_MS) =>
  (call, url, { method, headers, body }) =>
    new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const total = /** @type {Blob} */ (body).size;
      const processingMs =
        PROCESSING * timeout + Math.min(total, MAX_BUFFERED_BYTES) / SLOW_BYTES_PER_MS;
      let [sent, received, timer] = [-1, 0, 0];
      /** @type {types.ReportProgress} */
      const report = (phase, milliseconds) => {
        call.allow(milliseconds);
        clearTimeout(timer);
        timer = setTimeout(() => onProgress({ phase, sent, total, stalled: true }), stallAfter);
        onProgress({ phase, sent, total });
      };
      const reportSent = (/** @type {number} */ count) => {
        if (count > sent) {
          sent = count;
          report("uploading", SILENCE * timeout);
        }
      };
      request.open(method, url);
      request.responseType = "blob";
      Object.entries(headers).forEach(([name, value]) => request.setRequestHeader(name, value));
      request.upload.onprogress = ({ loaded }) => reportSent(loaded);
      request.upload.onload = () => {
        sent = total;
        report("processing", processingMs);
      };
      request.onprogress = ({ loaded }) => {
        if (loaded > received) {
          received = loaded;
          report("processing", processingMs);
        }
      };
      request.onloadend = () => clearTimeout(timer);
      request.onload = () => {
        const header = request.getResponseHeader.bind(request);
        resolve({ status: request.status, header, body: request.response });
      };
      request.onerror = request.onabort = () =>
        reject(call.signal.aborted ? call.signal.reason : noAnswer());
      call.signal.addEventListener("abort", () => request.abort());
      reportSent(0);
      request.send(body);
    });

/** @param {string | null} retryAfter in either form (RFC 9110, 10.2.3) */
export function secondsOf(retryAfter) {
  if (!retryAfter) {
    return null;
  }
  const isNumber = /^\d+$/.test(retryAfter);
  const seconds = isNumber ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/** @param {types.Answer} answer of status 400 or more */
async function problemOf({ status, header, body }) {
  const members = {
    status,
    retryAfter: secondsOf(header("Retry-After")),
    requestId: header("X-Request-Id"),
  };
  try {
    const problem = JSON.parse(await body.text());
    const {
      code,
      title,
      type,
      instance,
      status: _,
      detail,
      errors,
      limit,
      request_id,
      ...details
    } = problem;
    if (typeof code === "string") {
      const requestId = request_id ?? members.requestId;
      return new ProfileError(code, detail ?? title, { ...members, errors, limit, details, requestId });
    }
  } catch {
    // Not this API: a proxy's own page, for example.
  }
  return new ProfileError("answer_invalid", `Status ${status} without a problem document.`, members);
}

/** @type {types.Exchange} */
export async function exchange(call, url, message, isRepeatable, send) {
  let failures = 0;
  let retryUntil;
  for (let attempt = 0; ; attempt += 1) {
    call.check();
    try {
      const answer = await send(call, url, message);
      if (answer.status < 400) {
        return answer;
      }
      throw await problemOf(answer);
    } catch (error) {
      failures += Number(isLost(error.code));
      retryUntil ??= performance.now() + call.millisecondsLeft;
      const pause = pauseAfter(
        error,
        attempt,
        isRepeatable && failures < 2,
        retryUntil - performance.now(),
      );
      if (pause === null) {
        throw error;
      }
      await call.wait(pause);
    }
  }
}

/** @type {types.PauseAfter} Returns milliseconds, or null: the request is not sent again. */
export function pauseAfter({ code, status, retryAfter }, attempt, isRepeatable, millisecondsLeft) {
  const isBusy = [429, 503].includes(status ?? 0) && retryAfter !== null;
  if (!isBusy && !(isLost(code) && isRepeatable)) {
    return null;
  }
  const min = Math.max((retryAfter ?? 0) * 1000, RETRY_MS * 2 ** attempt);
  if (min >= millisecondsLeft) {
    return null;
  }
  // At random, so that clients that failed together do not retry together.
  return min + Math.random() * Math.min(min / 4 + RETRY_MS, (millisecondsLeft - min) / 2);
}

/** @type {(value: unknown) => value is string} */
export const isText = (value) => typeof value === "string";
/** @param {unknown} value */
const isTextOrNull = (value) => value === null || isText(value);

/** @param {unknown} condition of a well-formed answer */
export function demand(condition) {
  if (!condition) {
    throw new TypeError("wrong shape");
  }
}

/** @type {types.ReadProfile} */
export function profileOf(answer) {
  const blank = Object.fromEntries(CLAIMS.map((name) => [name, null]));
  const profile = {
    ...blank,
    picture: null,
    updated_at: null,
    version: 0,
    protected: false,
    ...answer,
  };
  const { email, etag, picture, suggestions } = profile;
  demand(isText(email) && isText(etag) && CLAIMS.every((name) => isTextOrNull(profile[name])));
  demand(picture === null || (isText(picture.id) && Object.values(picture.urls).every(isText)));
  const { claims = {}, picture: reference = "" } = suggestions ?? {};
  demand(Object.values(claims).every(isText) && isText(reference));
  return profile;
}

/** @type {types.ReadProfiles} */
export const profilesOf = ({ profiles }) => profiles.map(profileOf);

/** @type {types.ReadProfileKey} */
export function profileKeyOf({ id, added_at, current }) {
  demand(isText(id) && (added_at === null || Date.parse(added_at)) && typeof current === "boolean");
  return { id, added_at, current };
}

/** @type {types.ReadProfileKeys} */
export const profileKeysOf = ({ profile_keys }) => profile_keys.map(profileKeyOf);

/** @type {types.ReadSession} */
export function sessionOf({ token, expires_at, emails }) {
  demand(
    /^[\x21-\x7e]+$/.test(token) && isText(token) && Date.parse(expires_at) && emails.every(isText),
  );
  return { token, expires_at, emails };
}
