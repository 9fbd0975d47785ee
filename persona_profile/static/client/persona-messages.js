// Every error of the service and of its client in words for the person who sees it.

const MOMENT = (error) =>
  error.retryAfter > 1 ? `Try again in ${seconds(error.retryAfter)}.` : "Try again in a moment.";

const busy = (error) => `The server is busy just now. ${MOMENT(error)}`;
const page = (what) =>
  `${what} This is a mistake of this page, not yours. Reload it; if that does not help, tell those who run it.`;
const proof = (what) => `${what} Sign in again.`;
const provider = (what) => `${what} Use another address, or ask those who run it.`;

const SIGN_IN_PROOF = proof("The proof of your address can’t be read.");
const OUTDATED_PROOF = proof("The proof of your address is too old.");
const CLOCK =
  "The proof of your address is from the future. Check the clock of this device, then sign in again.";
const PROVIDER_PROOF = provider("The provider of your address made a proof that is not accepted here.");
const PROVIDER_SETUP = provider("The provider of your address is not set up in a way that works here.");

/** By code: what the dialog can do next, and the sentence. */
const MESSAGES = {
  __proto__: null, // codes come from the network
  // Of the client.
  offline: ["retry", "You are offline. Connect to the internet, then try again."],
  no_answer: ["retry", "The profile server does not answer. Nothing is lost; try again in a moment."],
  timeout: ["retry", "The profile server takes too long to answer. Try again in a moment."],
  aborted: ["none", "Cancelled."],
  answer_invalid: [
    "retry",
    "Something else than the profile server answered. Check your connection, then try again.",
  ],
  file_unreadable: [
    "choose-file",
    "This file can’t be read. It may have been moved or deleted; choose it again.",
  ],
  sign_in_denied: ["none", "You did not sign in at the provider. Nothing has changed here."],
  sign_in_failed: [
    "retry",
    "The provider could not sign you in. Nothing is lost; try again, or choose another way.",
  ],
  sign_in_mismatch: [
    "retry",
    "What came back belongs to no sign-in that was begun in this window. Nothing has changed; sign in again.",
  ],

  // Of the service.
  malformed_request: ["report", page("The server did not understand this page.")],
  validation_failed: ["correct", fields],
  session_missing: ["sign-in", "You are not signed in. Please sign in."],
  session_invalid: ["sign-in", "The server does not know your session any more. Please sign in again."],
  session_expired: ["sign-in", "Your session has ended. Please sign in again."],
  session_revoked: ["sign-in", "You were signed out. Please sign in again."],
  email_not_proved: ["sign-in", "You are not signed in with this address. Sign in with it first."],
  profile_key_required: [
    "key",
    "This profile opens only with your own key. Enter the key to see or change it.",
  ],
  profile_key_wrong: [
    "key",
    "This profile opens with another key of yours. Enter that key to see or change it.",
  ],
  origin_refused: [
    "report",
    "The profile server does not work with this website. Tell those who run the website.",
  ],
  fedcm_direct_call: [
    "report",
    page("The browser asked the profile server for something that it does not give to browsers."),
  ],
  not_found: ["look-again", "This is not there any more. Load the profile again."],
  method_not_allowed: ["report", page("The server can’t do this.")],
  not_acceptable: ["report", page("The server has no picture that this browser asked for.")],
  conflict: ["retry", "Someone else is changing this profile just now. Try again in a moment."],
  precondition_failed: [
    "look-again",
    "This profile was changed elsewhere meanwhile. Look at what it says now, then save again.",
  ],
  body_too_large: ["choose-file", tooLarge],
  unsupported_media_type: [
    "choose-file",
    "This is not a picture that can be used. Choose a JPEG, PNG, WebP, GIF, AVIF or HEIC file.",
  ],
  misdirected_request: ["report", page("It asks a server that does not know its own address.")],
  picture_broken: ["choose-file", "This picture is damaged or not complete. Choose another file."],
  picture_too_many_pixels: ["choose-file", tooManyPixels],
  picture_too_complex: [
    "choose-file",
    "This picture is too complex to be used. Save it as a JPEG, or choose another one.",
  ],
  crop_outside_picture: [
    "choose-file",
    "The chosen square lies outside the picture. Choose the picture again.",
  ],
  rate_limited: ["wait", (error) => `That was too much in a short time. ${MOMENT(error)}`],
  request_headers_too_large: [
    "sign-in",
    "This browser sends more than the server takes. Sign out, then sign in with fewer addresses.",
  ],
  not_implemented: [
    "report",
    "Something between this browser and the server is in the way. Try another connection.",
  ],
  overloaded: ["wait", busy],
  storage_unavailable: [
    "wait",
    (error) => `Profiles can’t be reached just now. Nothing is lost. ${MOMENT(error)}`,
  ],
  keys_unavailable: [
    "wait",
    (error) => `Profiles can’t be opened just now. Nothing is lost. ${MOMENT(error)}`,
  ],
  service_unavailable: [
    "wait",
    (error) => `The profile server is down just now. Nothing is lost. ${MOMENT(error)}`,
  ],
  profile_unreadable: [
    "wait",
    "What is stored for this address can’t be read just now. Those who run the server know; try again later.",
  ],
  internal_error: ["report", ours],

  // Why a proof does not hold.
  proof_too_large: ["sign-in", SIGN_IN_PROOF],
  malformed_bundle: ["sign-in", SIGN_IN_PROOF],
  malformed_jws: ["sign-in", SIGN_IN_PROOF],
  header_not_allowed: ["other-address", PROVIDER_PROOF],
  algorithm_not_allowed: ["other-address", PROVIDER_PROOF],
  algorithm_mismatch: ["other-address", PROVIDER_PROOF],
  key_not_allowed: ["other-address", PROVIDER_PROOF],
  certificate_times_invalid: ["other-address", PROVIDER_PROOF],
  assertion_times_invalid: ["sign-in", SIGN_IN_PROOF],
  certificate_expired: ["sign-in", OUTDATED_PROOF],
  assertion_expired: ["sign-in", OUTDATED_PROOF],
  certificate_not_yet_valid: ["sign-in", CLOCK],
  assertion_not_yet_valid: ["sign-in", CLOCK],
  certificate_life_invalid: ["other-address", PROVIDER_PROOF],
  assertion_life_invalid: ["sign-in", SIGN_IN_PROOF],
  audience_mismatch: ["sign-in", proof("The proof of your address was made for another website.")],
  email_missing: ["other-address", provider("The provider does not confirm any address of yours.")],
  email_invalid: [
    "other-address",
    "This address can’t be used here. Check how it is written, or use another one.",
  ],
  issuer_invalid: ["other-address", PROVIDER_SETUP],
  issuer_not_authoritative: [
    "other-address",
    provider("Whoever vouches for your address may not speak for it."),
  ],
  issuer_without_support: [
    "other-address",
    provider("The provider of your address takes no part in this way to sign in."),
  ],
  issuer_disabled: [
    "other-address",
    provider("The provider of your address has switched off this way to sign in."),
  ],
  issuer_unreachable: [
    "wait",
    "The provider of your address can’t be reached just now. Try again later.",
  ],
  issuer_address_forbidden: ["other-address", PROVIDER_SETUP],
  support_document_invalid: ["other-address", PROVIDER_SETUP],
  support_document_too_large: ["other-address", PROVIDER_SETUP],
  delegation_cycle: ["other-address", PROVIDER_SETUP],
  delegation_too_long: ["other-address", PROVIDER_SETUP],
  certificate_signature_invalid: ["other-address", PROVIDER_PROOF],
  assertion_signature_invalid: ["sign-in", proof("The proof of your address does not hold.")],
  issuer_unknown: [
    "other-address",
    provider("The profile server does not know the provider that you signed in at."),
  ],
  authorized_party_mismatch: [
    "sign-in",
    proof("The proof of your address was made for another website."),
  ],
  token_times_invalid: ["other-address", PROVIDER_PROOF],
  token_expired: ["sign-in", OUTDATED_PROOF],
  token_not_yet_valid: ["sign-in", CLOCK],
  token_life_invalid: ["other-address", PROVIDER_PROOF],
  nonce_invalid: ["sign-in", proof("The proof of your address was not made for this sign-in.")],
  nonce_expired: ["sign-in", proof("Signing in at the provider took too long.")],
  subject_missing: ["other-address", PROVIDER_PROOF],
  email_not_verified: [
    "other-address",
    provider("The provider has not checked that the address is yours."),
  ],
  discovery_document_invalid: ["other-address", PROVIDER_SETUP],
  key_set_invalid: ["other-address", PROVIDER_SETUP],
  key_unknown: ["wait", "The provider has changed its keys just now. Try again in a moment."],
  key_ambiguous: ["other-address", PROVIDER_SETUP],
  token_signature_invalid: ["other-address", PROVIDER_PROOF],
  proof_replayed: ["sign-in", proof("The proof of your address was used before.")],
  proof_revoked: ["sign-in", proof("You have signed out since the proof of your address was made.")],
};

const FIELDS = {
  __proto__: null,
  name: "Name",
  given_name: "Given name",
  family_name: "Family name",
  nickname: "Nickname",
  pronouns: "Pronouns",
  website: "Website",
  locale: "Language",
  zoneinfo: "Time zone",
  label: "Label",
  picture_alt: "Picture in words",
  picture: "Picture",
  email: "Address",
  profile_key: "Key",
};

export const codes = Object.freeze(Object.keys(MESSAGES));

export function explain(error, translations = {}) {
  const [action, english] = MESSAGES[error?.code] ?? unknown(error);
  const translation = Object.hasOwn(translations, error?.code) ? translations[error.code] : null;
  const sentence = translation ?? english;
  const errors = error?.errors ?? [];
  return {
    text: typeof sentence === "function" ? sentence(error) : sentence,
    action,
    fields: errors.map(({ name, description }) => ({ name, text: describe(name, description) })),
  };
}

function unknown(error) {
  if (!error?.code) {
    return ["report", page("Something went wrong here.")];
  }
  if (error.isTemporary) {
    return ["wait", busy];
  }
  return ["report", ({ code }) => `That did not work (${code}). Tell those who run this website.`];
}

function describe(name, description) {
  return `${FIELDS[name] ?? name}: ${description.replace(/\.$/, "")}.`;
}

function fields({ errors = [] }) {
  const each = errors.map(({ name, description }) => describe(name, description));
  return each.length ? each.join(" ") : "Something is not right yet. Check what you entered.";
}

function tooLarge({ limit }) {
  return limit
    ? `This picture is larger than ${bytes(limit)}. Choose a smaller one.`
    : "This picture is too large. Choose a smaller one.";
}

function tooManyPixels({ limit, details }) {
  const has = details?.pixels ? ` (${megapixels(details.pixels)})` : "";
  const most = limit ? ` At most ${megapixels(limit)} can be used.` : "";
  return `This picture has too many pixels${has}.${most} Choose a smaller one.`;
}

function ours({ requestId }) {
  const number = requestId ? ` and give them this number: ${requestId}` : "";
  return `The server made a mistake. Try again; if that does not help, tell those who run it${number}.`;
}

/** Computers count in powers of two here, people are told "20 MB". */
function bytes(count) {
  const [size, unit] = count >= 2 ** 20 ? [2 ** 20, "MB"] : [2 ** 10, "kB"];
  return `${Math.max(1, Math.floor(count / size))} ${unit}`;
}

function megapixels(count) {
  return `${Math.max(1, Math.round(count / 1e6))} megapixels`;
}

function seconds(count) {
  const whole = Math.ceil(count);
  return whole < 90 ? `${whole} seconds` : `${Math.ceil(whole / 60)} minutes`;
}
