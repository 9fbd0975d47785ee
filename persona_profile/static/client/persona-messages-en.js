// Made from messages/en.json by "make format".

/** @type {import("./persona-messages.js").Sentences} */
export default {
  aborted: "Cancelled.",
  access_token_invalid: "The provider does not confirm your address any more. Sign in again.",
  answer_invalid:
    "The answer does not come from the profile server. Check your connection, then try again.",
  body_too_large: "This picture is [larger than {limit_bytes}|too large]. Choose a smaller one.",
  conflict: "Someone else is changing this profile just now. Try again in a moment.",
  crop_of_other_picture: "The chosen square belongs to another picture. Choose the picture again.",
  crop_outside_picture: "The chosen square lies outside the picture. Choose the picture again.",
  "description.character": "must not contain the character {character} at position {position}",
  "description.characters": {
    one: "must have at most {count} character",
    other: "must have at most {count} characters",
  },
  "description.https": "must be an https URL",
  "description.key": {
    one: "must be base64url of {count} byte",
    other: "must be base64url of {count} bytes",
  },
  "description.key_or_null": {
    one: "must be base64url of {count} byte, or null",
    other: "must be base64url of {count} bytes, or null",
  },
  "description.language_tag": "must be a language tag such as {example}",
  "description.time_zone": "must be a time zone such as {example}",
  dns_unavailable: "The provider of your address can’t be found just now. Try again later.",
  domain_not_accepted:
    "This way to sign in is not accepted here for your address. Choose another way, or use another address.",
  email_invalid: "This address can’t be used here. Check how it is written, or use another one.",
  email_missing:
    "The provider does not confirm any address of yours. Use another address, or ask its provider.",
  email_not_proved: "You are not signed in with this address. Sign in with it first.",
  email_not_verified:
    "The provider has not checked that the address is yours. Use another address, or ask its provider.",
  fedcm_direct_call:
    "The browser requested something that the profile server does not give to browsers. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  field: "{label}: {description}.",
  "field.email": "Address",
  "field.family_name": "Family name",
  "field.given_name": "Given name",
  "field.label": "Label",
  "field.locale": "Language",
  "field.name": "Name",
  "field.nickname": "Nickname",
  "field.picture": "Picture",
  "field.picture_alt": "Picture in words",
  "field.profile_key": "Key",
  "field.pronouns": "Pronouns",
  "field.website": "Website",
  "field.zoneinfo": "Time zone",
  file_unreadable: "This file can’t be read. It may have been moved or deleted; choose it again.",
  internal_error:
    "The server made a mistake. Try again; if that does not help, report it to its operators[ with this number: {request_id}].",
  issuer_disabled:
    "The provider of your address has switched off this way to sign in. Use another address, or ask its provider.",
  issuer_not_authoritative:
    "This provider has no authority over your address. Use another address, or ask its provider.",
  issuer_not_set_up:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  issuer_unknown:
    "The profile server does not know the provider that you signed in at. Use another address, or ask its provider.",
  issuer_unreachable: "The provider of your address can’t be reached just now. Try again later.",
  issuer_without_support:
    "The provider of your address does not support this way to sign in. Use another address, or ask its provider.",
  key_unknown: "The provider has changed its keys just now. Try again in a moment.",
  keys_unavailable:
    "Profiles can’t be opened just now. Nothing is lost. Try again in [{wait}|a moment].",
  last_profile_key:
    "This is the last key of this profile, and stays. To open the profile without a key, remove the protection.",
  malformed_request:
    "The server did not understand this page. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  megapixels: {
    one: "{count} megapixel",
    other: "{count} megapixels",
  },
  method_not_allowed:
    "The server can’t do this. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  misdirected_request:
    "The server does not know the address that was used. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  no_answer: "The profile server does not answer. Nothing is lost; try again in a moment.",
  no_code:
    "Something went wrong here. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  nonce_expired: "Signing in at the provider took too long. Sign in again.",
  nonce_invalid: "The proof of your address was not made for this sign-in. Sign in again.",
  not_acceptable:
    "The server has no picture in a format for this browser. This is a mistake of this page, not yours. Reload it; if that does not help, report it to the operators of this website.",
  not_found: "This is not there any more. Load the profile again.",
  not_implemented:
    "Something between this browser and the server is in the way. Try another connection.",
  offline: "You are offline. Connect to the internet, then try again.",
  origin_refused:
    "The profile server does not work with this website. Report it to the operators of the website.",
  overloaded: "The server is busy just now. Try again in [{wait}|a moment].",
  passkey_cancelled: "No passkey was used. Nothing has changed.",
  passkey_exists:
    "This device has one of your passkeys already. Choose another device, or use the passkey that is there.",
  passkey_forbidden:
    "This page may not use passkeys. This is a mistake of this page, not yours. Use a recovery code.",
  passkey_unreliable:
    "This passkey does not give the same key each time, so it can’t protect a profile. Nothing has changed. Use another passkey, or a recovery code.",
  passkey_unsupported:
    "This browser, or this device, gives no key of a passkey. Use a recovery code, or another browser.",
  picture_broken: "This picture is damaged or not complete. Choose another file.",
  picture_empty: "This file is empty. Choose another one.",
  picture_locked:
    "The operators have removed the picture of this address, and accept no other one[ until {until}| for now].[ Their reason: {reason}]",
  picture_removed:
    "The operators have removed the picture of this address.[ Their reason: {reason}] You can choose another one.",
  picture_too_complex:
    "This picture is too complex to be used. Save it as a JPEG, or choose another one.",
  picture_too_large:
    "The picture of your provider is [larger than {limit_bytes}|too large]. Choose a smaller file instead.",
  picture_too_many_pixels:
    "This picture has too many pixels[ ({pixels})].[ At most {limit_pixels} can be used.] Choose a smaller one.",
  picture_unreachable: "The picture of your provider can’t be fetched. Choose a file instead.",
  precondition_failed:
    "This profile was changed elsewhere meanwhile. Look at its present state, then save again.",
  profile_key_required: "This profile opens only with your own key. Enter the key to see or change it.",
  profile_key_wrong:
    "This profile opens with another key of yours. Enter that key to see or change it.",
  profile_not_protected: "This profile has no key of its own yet. Protect it first.",
  profile_unreadable:
    "The stored data of this address can’t be read just now. The operators know; try again later.",
  proof_expired: "The proof of your address is too old. Sign in again.",
  proof_for_other_website: "The proof of your address was made for another website. Sign in again.",
  proof_invalid: "The proof of your address is not valid. Sign in again.",
  proof_not_accepted:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  proof_not_yet_valid:
    "The proof of your address is from the future. Check the clock of this device, then sign in again.",
  proof_replayed: "The proof of your address was used before. Sign in again.",
  proof_revoked: "You have signed out since the proof of your address was made. Sign in again.",
  proof_unreadable: "The proof of your address can’t be read. Sign in again.",
  rate_limited: "That was too much in a short time. Try again in [{wait}|a moment].",
  recovery_code_invalid:
    "This is not a recovery code. Compare it with your copy, group by group: it has 56 letters and digits.",
  request_headers_too_large:
    "This browser sends more than the server accepts. Sign out, then sign in with fewer addresses.",
  service_unavailable:
    "The profile server is down just now. Nothing is lost. Try again in [{wait}|a moment].",
  session_expired: "Your session has ended. Please sign in again.",
  session_invalid: "The server does not know your session any more. Please sign in again.",
  session_missing: "You are not signed in. Please sign in.",
  session_revoked: "You were signed out. Please sign in again.",
  sign_in_denied: "You did not sign in at the provider. Nothing has changed here.",
  sign_in_failed:
    "The provider could not sign you in. Nothing is lost; try again, or choose another way.",
  sign_in_mismatch:
    "The provider’s answer belongs to no sign-in of this window. Nothing has changed; sign in again.",
  storage_unavailable:
    "Profiles can’t be reached just now. Nothing is lost. Try again in [{wait}|a moment].",
  suggestion_invalid:
    "The picture of your provider can’t be taken any more. Choose a file, or sign in at the provider again.",
  timeout:
    "The profile server takes too long to answer, or the connection is interrupted. Try again in a moment.",
  too_many_profile_keys: "This profile has as many keys as it can have. Remove one first.",
  unknown_code: "That did not work ({code}). Report it to the operators of this website.",
  unsupported_media_type:
    "This is not a picture that can be used. Choose a JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL or DNG file.",
  validation_failed: "[{fields}|Something is not right yet. Check what you entered.]",
};
