// Types that the modules of persona-profile.js share; pages need none of them.

import type { Crop, Profile, ProfileKey, Progress, Reduced, Session } from "./persona-profile.js";
import type { Call, ProfileError } from "./persona-profile-transport.js";

export interface Message {
  method: string;
  headers: Record<string, string>;
  body?: string | Blob;
}

export interface Answer {
  status: number;
  header(name: string): string | null;
  body: Blob;
}

export type Send = (call: Call, url: string, message: Message) => Promise<Answer>;
export type SendByXhr = (
  timeout: number,
  onProgress: (progress: Progress) => void,
  stallAfter?: number,
) => Send;

/** Reports that bytes have moved; the call may go on for some milliseconds without another byte. */
export type ReportProgress = (phase: Progress["phase"], milliseconds: number) => void;

/** Returns the options of a request whose body is a picture's file. */
export type Sending = (
  timeout: number,
  blob: Blob,
  report: (progress: Progress) => void,
  stallAfter?: number,
) => RequestOptions;

/** Returns the result of a request that sends a file; a file that is gone has an error of its own. */
export type WhileReadable = <Result>(file: Blob, request: Promise<Result>) => Promise<Result>;

export interface RequestOptions {
  /** The body, as a value to serialize. */
  json?: unknown;
  body?: string | Blob;
  /** The media type of the body. */
  type?: string;
  /** The etag of If-Match. */
  match?: string | null;
  /** The token of the present session by default; null for none. */
  token?: string | null;
  /** Whether to send the request again after a lost answer; true by default. */
  isRepeatable?: boolean;
  send?: Send;
}

/** Sends a request until its answer is final, or the time of the call is over. */
export type Exchange = (
  call: Call,
  url: string,
  message: Message,
  isRepeatable: boolean,
  send: Send,
) => Promise<Answer>;

export type PauseAfter = (
  error: Pick<ProfileError, "code" | "status" | "retryAfter">,
  /** Counted from 0. */
  attempt: number,
  isRepeatable: boolean,
  millisecondsLeft: number,
) => number | null;

/** Runs a call. */
export type Run = <Result>(
  signal: AbortSignal | undefined,
  work: (call: Call) => Promise<Result>,
  milliseconds?: number,
) => Promise<Result>;

export type Request = (
  call: Call,
  method: string,
  path: string,
  options?: RequestOptions,
) => Promise<Answer>;

export type RequestJson = <Result>(
  call: Call,
  method: string,
  path: string,
  options: RequestOptions | undefined,
  /** Checks the answer; throws if its shape is wrong. */
  shape: (answer: any) => Result,
) => Promise<Result>;

export type RequestProfile = (
  call: Call,
  method: string,
  email: string,
  options?: RequestOptions,
  /** What follows the path of the profile. */
  more?: string,
) => Promise<Profile>;

export type ReadProfile = (answer: any) => Profile;
export type ReadProfiles = (answer: any) => Profile[];
export type ReadProfileKey = (answer: any) => ProfileKey;
export type ReadProfileKeys = (answer: any) => ProfileKey[];
export type ReadSession = (answer: any) => Session;

export type Claimed = Record<string, any>;
export type CanMerge = (claims: Claimed, base: Claimed, current: Claimed) => boolean;

/**
 * Returns a square of a picture, scaled to at most 1024 pixels a side, upright, in sRGB, encoded; without a crop
 * the largest square in the centre. Null if the file is to be uploaded as it is: it is small, the browser
 * can't decode it or falsifies canvas pixels, it may turn it otherwise than the server, or the crop lies outside
 * or belongs to another picture.
 */
export type Reduce = (file: Blob, crop: Crop | null) => Promise<Reduced | null>;
export type WholePixels = (crop: Crop) => Crop;
export type CropQuery = (crop: Crop) => string;
export type ReduceUntil = (
  file: Blob,
  crop: Crop | null,
  signal: AbortSignal,
) => Promise<Reduced | null>;
/** Reads a file of at least 25 bytes before it is decoded. */
export type ReadHeader = (view: DataView) => {
  isJpeg: boolean;
  /** Of PNG and JPEG; else 0. */
  pixels: number;
  /** Whether browsers show it differently. */
  isUnsafe?: boolean;
};
export type SquareOf = (size: Size, crop: Crop | null) => Crop | null;
export type IsScaled = (size: Size, original: Size) => boolean;
/** Whether some EXIF, or its like, in a part of a file has an orientation other than upright. */
export type IsRotated = (view: DataView, start: number, length: number) => boolean;
export interface Size {
  width: number;
  height: number;
}
export type Encode = (canvas: OffscreenCanvas, mayBeGraphic: boolean) => Promise<Blob | null>;
export type Analyse = (canvas: OffscreenCanvas) => {
  isGraphic: boolean;
  isOpaque: boolean;
  isBlank: boolean;
};
/** Whether pixels, as RGBA bytes, are a drawing, a text or a screenshot rather than a photo. */
export type IsGraphicOf = (data: Uint8ClampedArray<ArrayBuffer>) => boolean;
export type StepTo = (data: Uint8ClampedArray, at: number) => number;
export type Scale = (source: ImageBitmap | OffscreenCanvas, crop: Crop) => OffscreenCanvas;
export type ContextOf = (canvas: OffscreenCanvas) => OffscreenCanvasRenderingContext2D;
