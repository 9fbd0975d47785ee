// Requests and answers of persona-profile.js: errors, time limits, repeating, shapes.

const STALL = 2; // times the timeout, without a byte that leaves
const PROCESSING = 6; // times the timeout, for the answer to an upload
const REPEAT_MS = 250;
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const TEMPORARY_CODES = ["offline", "no_answer", "timeout", "issuer_unreachable", "key_unknown"];
const TEMPORARY_STATUSES = [409, 429, 502, 503, 504];
const CLAIMS =
  "name given_name family_name nickname pronouns website locale zoneinfo label picture_alt".split(" ");

export class ProfileError extends Error {
  /**
   * @param {string} code
   * @param {string} message for developers
   * @param {object} [members] any of the properties; `cause`
   */
  constructor(
    code,
    message,
    { status, errors, limit, details, retryAfter, requestId, current, cause } = {},
  ) {
    super(message, { cause });
    this.name = "ProfileError";
    this.code = code;
    this.status = status ?? null;
    this.errors = Array.isArray(errors) ? errors : [];
    this.limit = limit ?? null;
    this.details = details ?? {};
    this.retryAfter = retryAfter ?? null;
    this.requestId = requestId ?? null;
    this.current = current ?? null;
    this.isTemporary = TEMPORARY_CODES.includes(code) || TEMPORARY_STATUSES.includes(this.status);
  }
}

export const aborted = (reason = "The call was ended by its signal.") =>
  new ProfileError("aborted", reason);
const lost = (cause) =>
  navigator.onLine === false
    ? new ProfileError("offline", "The browser is offline.", { cause })
    : new ProfileError("no_answer", "No server, or none that this page may read, gave an answer.", {
        cause,
      });

/** One call of a method: the time that it has for all its requests, and what ends it. */
export class Call {
  #controller = new AbortController();
  #outer;
  #timer;
  #deadline;
  #onAbort = () => this.end(aborted());

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

  /** Milliseconds. */
  get left() {
    return this.#deadline - performance.now();
  }

  /** Gives it so much time from now on. */
  allow(milliseconds) {
    clearTimeout(this.#timer);
    this.#deadline = performance.now() + milliseconds;
    if (milliseconds <= LONGEST_TIMER_MS) {
      const late = () => this.end(new ProfileError("timeout", "There was no answer in time."));
      this.#timer = setTimeout(late, milliseconds);
    }
  }

  /** Throws if it was ended. */
  check() {
    if (this.signal.aborted) {
      throw this.signal.reason;
    }
  }

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

  /** Aborts the request under way; every later `check` throws the error. */
  end(error) {
    this.#controller.abort(error);
  }
}

/** Sends one request; returns `{status, header(name), body: Blob}`, whatever the status. */
export async function viaFetch(call, url, request) {
  try {
    const answer = await fetch(url, {
      ...request,
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
    throw lost(cause);
  }
}

/** The same by XMLHttpRequest, which tells how many bytes have left. */
export function viaXhr(call, url, { method, headers, body }, timeout, tell) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const total = body.size;
    const report = (phase, sent, allowed) => {
      call.allow(allowed * timeout);
      tell({ phase, sent, total });
    };
    request.open(method, url);
    request.responseType = "blob";
    Object.entries(headers).forEach(([name, value]) => request.setRequestHeader(name, value));
    request.upload.onprogress = ({ loaded }) => report("uploading", loaded, STALL);
    request.upload.onload = () => report("processing", total, PROCESSING);
    request.onload = () => {
      const header = (name) => request.getResponseHeader(name);
      resolve({ status: request.status, header, body: request.response });
    };
    request.onerror = request.onabort = () => reject(call.signal.aborted ? call.signal.reason : lost());
    call.signal.addEventListener("abort", () => request.abort());
    report("uploading", 0, STALL);
    request.send(body);
  });
}

/** Returns seconds, of a Retry-After in either form (RFC 9110, 10.2.3), or null. */
function secondsOf(retryAfter) {
  const isNumber = /^\d+$/.test(retryAfter);
  const seconds = isNumber ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return retryAfter && Number.isFinite(seconds) ? Math.max(0, seconds) : null;
}

/** Returns the error that an answer of status 400 or more stands for. */
async function problemOf({ status, header, body }) {
  const retryAfter = secondsOf(header("Retry-After"));
  const told = { status, retryAfter, requestId: header("X-Request-Id") };
  try {
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
    } = JSON.parse(await body.text());
    if (typeof code === "string") {
      const requestId = request_id ?? told.requestId;
      return new ProfileError(code, detail ?? title, { ...told, errors, limit, details, requestId });
    }
  } catch {
    // Something on the way that knows nothing of this API, a proxy say.
  }
  return new ProfileError("answer_invalid", `Status ${status} without a problem document.`, told);
}

/**
 * Sends a request until its answer is final, or the call's time is over.
 *
 * @param {Call} call
 * @param {string} url
 * @param {{method: string, headers: object, body?: string | Blob}} request
 * @param {boolean} isRepeatable whether it may be sent again if no answer came
 * @param {typeof viaFetch} send
 */
export async function exchange(call, url, request, isRepeatable, send) {
  let failures = 0;
  let repeatUntil;
  for (let attempt = 0; ; attempt += 1) {
    call.check();
    if (navigator.onLine === false) {
      throw lost();
    }
    try {
      const answer = await send(call, url, request);
      if (answer.status < 400) {
        return answer;
      }
      throw await problemOf(answer);
    } catch (error) {
      failures += error.code === "no_answer";
      repeatUntil ??= performance.now() + call.left;
      const pause = pauseAfter(
        error,
        attempt,
        isRepeatable && failures < 2,
        repeatUntil - performance.now(),
      );
      if (pause === null) {
        throw error;
      }
      await call.wait(pause);
    }
  }
}

/** Returns after how many milliseconds to repeat a request that failed, or null for never. */
function pauseAfter({ code, status, retryAfter }, attempt, isRepeatable, left) {
  const isBusy = [429, 503].includes(status) && retryAfter !== null;
  if (!isBusy && !(code === "no_answer" && isRepeatable)) {
    return null;
  }
  const least = Math.max((retryAfter ?? 0) * 1000, REPEAT_MS * 2 ** attempt);
  // Not all that were refused together come back together.
  return least < left
    ? least + Math.random() * Math.min(least / 4 + REPEAT_MS, (left - least) / 2)
    : null;
}

export const isText = (value) => typeof value === "string";
const isTextOrNull = (value) => value === null || isText(value);
/** Throws if an answer is not what this API answers. */
export const demand = (condition) => {
  if (!condition) {
    throw new TypeError("wrong shape");
  }
};

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
  const { email, etag, picture } = profile;
  demand(isText(email) && isText(etag) && CLAIMS.every((name) => isTextOrNull(profile[name])));
  demand(picture === null || (isText(picture.id) && Object.values(picture.urls).every(isText)));
  return profile;
}

export function sessionOf({ token, expires_at, emails }) {
  demand(
    /^[\x21-\x7e]+$/.test(token) && isText(token) && Date.parse(expires_at) && emails.every(isText),
  );
  return { token, expires_at, emails };
}
