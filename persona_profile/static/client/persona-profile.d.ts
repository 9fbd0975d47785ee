/** The claims of a profile; the service's `docs/api.md` tells what may stand in each. */
export interface Claims {
  name: string | null;
  given_name: string | null;
  family_name: string | null;
  nickname: string | null;
  pronouns: string | null;
  website: string | null;
  locale: string | null;
  zoneinfo: string | null;
  label: string | null;
  picture_alt: string | null;
}

export interface Picture {
  id: string;
  /** Where to fetch each size, by side in pixels ("64"); the URL is the permission and dies by itself. */
  urls: Record<string, string>;
  /** The size that was asked for as `thumbnails`, as a data URL. */
  thumbnail?: string;
}

export interface Profile extends Claims {
  email: string;
  picture: Picture | null;
  /** RFC 3339, or null while nothing was ever written. */
  updated_at: string | null;
  version: number;
  /** Whether it opens only with the person's own key. */
  protected: boolean;
  etag: string;
  /** Why the stored data did not open: the profile is blank then, and can be erased. */
  error?: "profile_unreadable" | "profile_key_required" | "profile_key_wrong";
}

export interface Session {
  token: string;
  /** RFC 3339. */
  expires_at: string;
  /** In the order proved. */
  emails: string[];
}

/** A BrowserID assertion, which may stand by itself, or an ID token. */
export type Proof = string | { assertion: string } | { id_token: string };

export interface Nonce {
  /** What the identity provider is to put into its token. */
  nonce: string;
  /** RFC 3339: until then the token must have opened a session. */
  expires_at: string;
}

/** A square in pixels of the upright picture; fractions are cut off. */
export interface Crop {
  left: number;
  top: number;
  side: number;
}

export interface Progress {
  /** `reducing` in the browser, `uploading`, then `processing` on the server; `uploading` again if the server
   *  was too busy, or the line broke, and all is sent once more. */
  phase: "reducing" | "uploading" | "processing";
  /** Bytes that left so far, and in all; 0 while reducing. */
  sent: number;
  total: number;
}

export interface ClientOptions {
  /** Of the profile server, such as `https://profiles.example`. */
  origin: string;
  /** How long a call may take, its retries included, in milliseconds; 8000 unless told. An upload may take
   *  as long as bytes go on leaving: it ends when none has left for twice this long, or when there is no
   *  answer six times this long after the last one. */
  timeout?: number;
  /** Where the session outlives a reload: `sessionStorage`. Without it, it lives in memory alone. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  /** Side in pixels of the thumbnails that come with profiles; 128 unless told, null for none. */
  thumbnails?: number | null;
}

export interface CallOptions {
  /** Ends the call: it throws a ProfileError of code `aborted`. */
  signal?: AbortSignal;
}

export interface SignInOptions extends CallOptions {
  /** The person's own key for protected profiles: 32 bytes in base64url. */
  profileKey?: string;
  /** Whether the emails of the present session stay; true unless told. */
  keep?: boolean;
}

export interface UpdateOptions extends CallOptions {
  /** The state that the change was made from; the last seen unless told, null for "last writer wins". */
  etag?: string | null;
}

export interface UploadOptions extends CallOptions {
  crop?: Crop;
  onProgress?: (progress: Progress) => void;
  /** Whether the picture is made smaller before it leaves; true unless told. */
  reduce?: boolean;
}

/** What a server takes and makes (`GET /v1/`). */
export interface Service {
  name: string;
  version: string;
  [member: string]: unknown;
}

/**
 * The only error that this module throws.
 *
 * `code` is the server's own (docs/api.md), or one of: `offline` (the browser says so), `no_answer` (no
 * server, or not one that may be read from this page), `timeout`, `aborted` (by the signal of the call; or its
 * session ended before the answer came, or a newer sign-in took over), `answer_invalid` (not an
 * answer of a profile server), `file_unreadable` (it was moved, changed or deleted since it was chosen),
 * `session_missing` (nobody is signed in: nothing was sent).
 */
export class ProfileError extends Error {
  readonly code: string;
  /** Of HTTP; null if there was no answer. */
  readonly status: number | null;
  /** For validation: what is wrong with which member. */
  readonly errors: { location: string; name: string; description: string }[];
  /** Bytes, or pixels, that are taken, where the server tells. */
  readonly limit: number | null;
  /** Width, height or number of pixels, where the server tells of the picture. */
  readonly details: Record<string, unknown>;
  /** Seconds after which trying again makes sense, or null. */
  readonly retryAfter: number | null;
  readonly requestId: string | null;
  /** Whether the same call may succeed later. */
  readonly isTemporary: boolean;
  /** With `precondition_failed`: the profile as somebody else left it. */
  readonly current: Profile | null;
}

/**
 * The API of a profile server.
 *
 * Events (all of them plain `Event`): `session` when a session was opened, changed, or is over.
 */
export class ProfileClient extends EventTarget {
  constructor(options: ClientOptions);
  readonly origin: string;
  /** Null when nobody is signed in, or the session has expired. */
  readonly session: Session | null;
  /** Gets a nonce for one ID token (persona-openid.js does so by itself). */
  nonce(options?: CallOptions): Promise<Nonce>;
  /** Opens a session; the answer is every profile of it, in the order proved. A session that was to be kept
   *  and is over is left behind. The newest sign-in wins: an older one that is under way ends with `aborted`, and
   *  so does every sign-in at a sign-out. `proof_replayed` after an answer was lost on its way, or the server was too
   *  busy to finish, means: get new proofs. */
  signIn(proofs: Proof[], options?: SignInOptions): Promise<Profile[]>;
  /** Ends every session of these emails, everywhere. Calls under way end with `aborted`. In all tabs of this
   *  browser the sessions are forgotten even if the server is down; then the error is thrown all the same, since
   *  sessions on other devices live on until they expire. */
  signOut(options?: CallOptions): Promise<void>;
  profiles(options?: CallOptions): Promise<Profile[]>;
  profile(email: string, options?: CallOptions): Promise<Profile>;
  /**
   * Changes the claims that are named; null removes one. If somebody else changed the profile meanwhile,
   * but none of these claims, the change is made to the newer state; else it throws
   * `precondition_failed` with `current`.
   */
  update(email: string, claims: Partial<Claims>, options?: UpdateOptions): Promise<Profile>;
  /** Makes the picture small in the browser, as far as that can be done there, and uploads it. */
  uploadPicture(email: string, file: Blob, options?: UploadOptions): Promise<Profile>;
  removePicture(email: string, options?: CallOptions): Promise<Profile>;
  /** Seals the profile with the person's own key, with another one, or (null) with none. A key that is lost
   *  can't be replaced, and with it the profile is lost. The session holds the new key from then on; change the
   *  profiles of one session one after the other, in one go. Not repeated if the answer is lost: open the
   *  session with the key before its first use. */
  setProfileKey(email: string, key: string | null, options?: CallOptions): Promise<Profile>;
  /** Erases everything about this email. */
  remove(email: string, options?: CallOptions): Promise<void>;
  /** A zip of everything that is kept for this email. */
  export(email: string, options?: CallOptions): Promise<Blob>;
  service(options?: CallOptions): Promise<Service>;
}

export interface Reduced {
  /** What to upload: the file itself if nothing was gained, or the browser can't decode it. */
  blob: Blob;
  /** Side in pixels of the square that was made, or null if the file goes as it is (then the crop still has
   *  to be asked of the server). */
  side: number | null;
}

/**
 * Makes the square of a picture that the server needs, no larger than it needs (1024 pixels), off the
 * page's thread where the browser can.
 *
 * The file goes as it is if it is small already, if the browser can't decode it or gives noise for what it
 * has drawn, if it has over 120 megapixels or takes over a minute, or if the crop lies outside.
 * Throws `aborted` and `file_unreadable`.
 */
export function reduce(file: Blob, crop?: Crop | null, signal?: AbortSignal): Promise<Reduced>;
