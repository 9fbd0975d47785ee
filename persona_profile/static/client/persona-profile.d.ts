/** The claims of a profile; docs/reference/api.md of the service lists the values of each. */
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
  /** The URL of each size, by side in pixels ("64"). The URL is the permission to read, and expires. */
  urls: Record<string, string>;
  /** The size that was requested as `thumbnails`, as a data URL. */
  thumbnail?: string;
}

/** An operator has removed the picture; `explainRemoval` of persona-messages.js has a sentence for the person. */
export interface PictureRemoval {
  /** RFC 3339. */
  removed_at: string;
  /** RFC 3339: no picture is accepted before (`picture_locked`); null if another one is accepted now. */
  locked_until: string | null;
  /** The operator's words. */
  reason: string | null;
}

export interface Profile extends Claims {
  email: string;
  picture: Picture | null;
  /** Missing in a profile from the cache, and from an older server. */
  picture_removal?: PictureRemoval | null;
  /** RFC 3339, or null before the first write. */
  updated_at: string | null;
  version: number;
  /** Whether only the person's own key opens the profile. */
  protected: boolean;
  etag: string;
  /** Why the stored data could not be opened. The profile is blank then, and can be erased. */
  error?: "profile_unreadable" | "profile_key_required" | "profile_key_wrong";
  /** The provider's words for a blank profile; returned by `signIn` alone. Nothing of them is stored. */
  suggestions?: Suggestions;
}

/** To show to the person, who may take them by `takeSuggestions`. */
export interface Suggestions {
  claims?: Partial<Claims>;
  /** A reference to the provider's picture, for the server alone, until the session expires. It has no URL. */
  picture?: string;
}

/** One of the keys that open a protected profile. */
export interface ProfileKey {
  /** A random name of the key; the server knows no other. */
  id: string;
  /** RFC 3339, or null for a key from before the server stored these times. */
  added_at: string | null;
  /** Whether the session holds this key. */
  current: boolean;
}

export interface Session {
  token: string;
  /** RFC 3339. */
  expires_at: string;
  /** In the order of their proofs. */
  emails: string[];
}

/** A BrowserID assertion, also as a plain string, or an ID token. */
/** An assertion, a proof of one of the service's kinds, or of a kind that an operator has added. */
export type Proof =
  | string
  | { assertion: string }
  | { id_token: string; access_token?: string }
  | { evt: string }
  | Record<string, string>;

export interface Nonce {
  /** The `nonce` of the token, and of the request for it. */
  nonce: string;
  /** RFC 3339: the time until which the token can open a session. */
  expires_at: string;
}

/** A square in pixels of a picture; fractions are cut off. */
export interface Crop {
  left: number;
  top: number;
  side: number;
  /**
   * The size of the picture in which the square was counted: of an `<img>` `naturalWidth` and `naturalHeight`, of a
   * preview its own size. By default the size of the upright picture.
   */
  of?: { width: number; height: number };
}

export interface Progress {
  /** `reducing` in the browser, `uploading`, then `processing` on the server; `uploading` again when the
   *  request is repeated because the server was busy or the connection broke. */
  phase: "reducing" | "uploading" | "processing";
  /** Bytes sent so far, and in total; 0 while reducing. */
  sent: number;
  total: number;
  /** True if no byte has moved for `stallAfter`: the upload waits, and goes on when the connection does. */
  stalled?: true;
}

export interface ClientOptions {
  /** The origin of the profile server, such as `https://profiles.example`. */
  origin: string;
  /** The time limit of a call with its retries, in milliseconds; 8000 by default. An upload ends when no byte
   *  has left for eight times this time. After the last byte it ends without an answer for six times this time,
   *  and up to a minute for bytes that the system still sends. */
  timeout?: number;
  /** Keeps the session over a reload: `sessionStorage`. By default the session lives in memory. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | null;
  /** Side in pixels of the thumbnails in profiles; 128 by default, null for none. */
  thumbnails?: number | null;
}

export interface CallOptions {
  /** Aborts the call, which throws a ProfileError of code `aborted`. */
  signal?: AbortSignal;
}

export interface SignInOptions extends CallOptions {
  /** The person's own key for protected profiles: 32 bytes in base64url. */
  profileKey?: string;
  /** Whether the emails of the present session stay; true by default. */
  keep?: boolean;
}

export interface UpdateOptions extends CallOptions {
  /** The state on which the change is based: the last state received by default, null for "last writer wins". */
  etag?: string | null;
}

export interface SendOptions extends CallOptions {
  onProgress?: (progress: Progress) => void;
  /** Milliseconds without a byte after which the progress is `stalled`; 15000 by default. */
  stallAfter?: number;
}

export interface UploadOptions extends SendOptions {
  crop?: Crop | null;
  /** Whether the picture is reduced before the upload; true by default. */
  reduce?: boolean;
}

/** The limits, formats and settings that a server publishes (`GET /v1/`). */
export interface Service {
  name: string;
  version: string;
  [member: string]: unknown;
}

export interface ErrorMembers {
  status?: number | null;
  errors?: FieldError[];
  limit?: number | null;
  details?: Record<string, unknown>;
  retryAfter?: number | null;
  requestId?: string | null;
  current?: Profile | null;
  cause?: unknown;
}

export interface FieldError {
  location: string;
  name: string;
  description: string;
}

/**
 * The only error that this module throws.
 *
 * `code` is a code of the server (docs/reference/api.md), or one of the client:
 * `no_answer` (no server answered, or this page may not read the answer), `offline` (the same, while the browser
 * reports that it is offline),
 * `timeout`, `aborted` (by the signal of the call, by the end of its session, or by a newer sign-in),
 * `answer_invalid` (the answer does not come from a profile server), `file_unreadable` (the file was moved,
 * changed or deleted since it was chosen), `session_missing` (nobody is signed in; nothing was sent).
 */
export class ProfileError extends Error {
  constructor(code: string, message: string, members?: ErrorMembers);
  readonly code: string;
  /** HTTP status, or null without an answer. */
  readonly status: number | null;
  /** The invalid members of a request, with the reason of each. */
  readonly errors: FieldError[];
  /** The limit that was exceeded, in bytes or pixels, if the server reports it. */
  readonly limit: number | null;
  /** Width, height or number of pixels of the picture, if the server reports them. */
  readonly details: Record<string, unknown>;
  /** Seconds to wait before the next try, or null. */
  readonly retryAfter: number | null;
  readonly requestId: string | null;
  /** Whether the same call may succeed later. */
  readonly isTemporary: boolean;
  /** For `precondition_failed`, and for a picture that `takeSuggestions` can't take: the profile as it is now. */
  readonly current: Profile | null;
}

/**
 * A client of the API of a profile server.
 *
 * It dispatches a plain `Event` of type `session` when a session opens, changes or ends.
 */
export class ProfileClient extends EventTarget {
  constructor(options: ClientOptions);
  readonly origin: string;
  /** Null when nobody is signed in, or the session has expired. */
  readonly session: Session | null;
  /**
   * Requests a nonce for one ID token or email verification token; `beginSignIn` of persona-openid.js and
   * `EmailVerification` of persona-email-verification.js call this.
   */
  nonce(options?: CallOptions): Promise<Nonce>;
  /**
   * Opens a session and returns all its profiles, in the order of their proofs. A session to keep that has
   * ended is dropped. The newest sign-in wins: an older sign-in under way ends with `aborted`; a sign-out ends
   * every sign-in. After a lost answer, or a server too busy to finish, the code may be `proof_replayed`: sign in
   * again with new proofs.
   */
  signIn(proofs: Proof[], options?: SignInOptions): Promise<Profile[]>;
  /**
   * Ends every session of these emails, on all devices; calls under way end with `aborted`. All tabs of this
   * browser drop their sessions even if the server is down. The error is thrown nevertheless, because sessions
   * on other devices go on until they expire.
   */
  signOut(options?: CallOptions): Promise<void>;
  profiles(options?: CallOptions): Promise<Profile[]>;
  profile(email: string, options?: CallOptions): Promise<Profile>;
  /**
   * Changes the named claims; null removes a claim. If the profile was changed meanwhile but none of these
   * claims, the change is applied to the newer state; else the error is `precondition_failed` with `current`.
   */
  update(email: string, claims: Partial<Claims>, options?: UpdateOptions): Promise<Profile>;
  /**
   * Takes the suggestions of a profile that `signIn` returned: its claims, then its picture, which the server
   * fetches from the provider's host. A profile that was changed meanwhile keeps its changes. If the picture can't
   * be taken, the claims stay, and the error has the profile as `current`.
   */
  takeSuggestions(profile: Profile, options?: CallOptions): Promise<Profile>;
  /**
   * Reduces the picture in the browser where possible, and uploads it. Throws `picture_locked` if an operator has
   * removed the picture and accepts no other one yet; `details` has `locked_until` and `reason`.
   */
  uploadPicture(email: string, file: Blob, options?: UploadOptions): Promise<Profile>;
  /**
   * Returns the whole picture of a file, upright, at most 1024 pixels on its longer side: an image that every browser
   * shows. The server decodes it and stores nothing. For a file that the browser can't decode: let the person choose
   * a square of this image, then upload the file with that square.
   */
  previewPicture(email: string, file: Blob, options?: SendOptions): Promise<Blob>;
  removePicture(email: string, options?: CallOptions): Promise<Profile>;
  /**
   * Seals the profile with the person's own key, with another key, or (null) with none. The key replaces all keys
   * of the profile. Who loses every key loses the profile. The session holds the new key from then on; change all profiles of a session one after the
   * other. The call is not repeated after a lost answer: sign in with the key before you use it.
   */
  setProfileKey(email: string, key: string | null, options?: CallOptions): Promise<Profile>;
  /** Returns the keys that open the profile, the first added first; none if it is not protected. */
  profileKeys(email: string, options?: CallOptions): Promise<ProfileKey[]>;
  /**
   * Lets another key open the protected profile too, up to eight. The session keeps its own key, which must be one of
   * the profile's. A key that opens the profile already is returned as it is. Throws `profile_not_protected` and
   * `too_many_profile_keys`.
   */
  addProfileKey(email: string, key: string, options?: CallOptions): Promise<ProfileKey>;
  /**
   * Removes one of several keys. Throws `last_profile_key`, and `not_found` for a key that is not there any more. After
   * the removal of its own key, the session opens the profile no more. If others may have the key, set a new one instead.
   */
  removeProfileKey(email: string, id: string, options?: CallOptions): Promise<void>;
  /** Erases everything that the server keeps for this email. */
  remove(email: string, options?: CallOptions): Promise<void>;
  /** Returns a zip of everything that the server keeps for this email. */
  export(email: string, options?: CallOptions): Promise<Blob>;
  service(options?: CallOptions): Promise<Service>;
}

export interface Reduced {
  /** The bytes to upload; the file itself if it is small or the browser can't decode it. */
  blob: Blob;
  /** Side in pixels of the square in `blob`, or null if `blob` is the file itself and the server has to crop it. */
  side: number | null;
}

/**
 * Returns the square of a picture that the server needs, with at most 1024 pixels a side. A worker does this
 * where the browser allows one.
 *
 * The result is the file itself if the file is small, the browser can't decode it or falsifies canvas pixels,
 * it has over 120 megapixels or takes over a minute, or the crop lies outside of the picture.
 * Throws `aborted` and `file_unreadable`.
 */
export function reduce(file: Blob, crop?: Crop | null, signal?: AbortSignal): Promise<Reduced>;
