// Made from messages/en.json by "make format".

/** @type {import("./persona-messages.js").Translations} */
export default {
  language: "en",
  offline: "You are offline. Connect to the internet, then try again.",
  no_answer: "The profile server does not answer. Nothing is lost; try again in a moment.",
  timeout:
    "The profile server takes too long to answer, or the connection is interrupted. Try again in a moment.",
  aborted: "Cancelled.",
  answer_invalid:
    "The answer does not come from the profile server. Check your connection, then try again.",
  file_unreadable: "This file can’t be read. It may have been moved or deleted; choose it again.",
  sign_in_denied: "You did not sign in at the provider. Nothing has changed here.",
  sign_in_failed:
    "The provider could not sign you in. Nothing is lost; try again, or choose another way.",
  sign_in_mismatch:
    "The provider’s answer belongs to no sign-in of this window. Nothing has changed; sign in again.",
  malformed_request:
    "The server did not understand this page. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  validation_failed: "[{fields}|Something is not right yet. Check what you entered.]",
  session_missing: "You are not signed in. Please sign in.",
  session_invalid: "The server does not know your session any more. Please sign in again.",
  session_expired: "Your session has ended. Please sign in again.",
  session_revoked: "You were signed out. Please sign in again.",
  email_not_proved: "You are not signed in with this address. Sign in with it first.",
  profile_key_required: "This profile opens only with your own key. Enter the key to see or change it.",
  profile_key_wrong:
    "This profile opens with another key of yours. Enter that key to see or change it.",
  origin_refused:
    "The profile server does not work with this website. Tell the operators of the website.",
  fedcm_direct_call:
    "The browser requested something that the profile server does not give to browsers. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  not_found: "This is not there any more. Load the profile again.",
  method_not_allowed:
    "The server can’t do this. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  not_acceptable:
    "The server has no picture in a format for this browser. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  conflict: "Someone else is changing this profile just now. Try again in a moment.",
  precondition_failed:
    "This profile was changed elsewhere meanwhile. Look at its present state, then save again.",
  body_too_large: "This picture is [larger than {limit_bytes}|too large]. Choose a smaller one.",
  unsupported_media_type:
    "This is not a picture that can be used. Choose a JPEG, PNG, WebP, GIF, AVIF, HEIC, JPEG XL or DNG file.",
  misdirected_request:
    "The server does not know the address that was used. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  picture_empty: "This file is empty. Choose another one.",
  picture_broken: "This picture is damaged or not complete. Choose another file.",
  picture_too_many_pixels:
    "This picture has too many pixels[ ({megapixels} megapixels)].[ At most {limit_megapixels} megapixels can be used.] Choose a smaller one.",
  picture_too_complex:
    "This picture is too complex to be used. Save it as a JPEG, or choose another one.",
  crop_outside_picture: "The chosen square lies outside the picture. Choose the picture again.",
  crop_of_other_picture: "The chosen square belongs to another picture. Choose the picture again.",
  suggestion_invalid:
    "The picture of your provider can’t be taken any more. Choose a file, or sign in at the provider again.",
  picture_unreachable: "The picture of your provider can’t be fetched. Choose a file instead.",
  picture_too_large:
    "The picture of your provider is [larger than {limit_bytes}|too large]. Choose a smaller file instead.",
  rate_limited: "That was too much in a short time. Try again in [{wait}|a moment].",
  request_headers_too_large:
    "This browser sends more than the server accepts. Sign out, then sign in with fewer addresses.",
  not_implemented:
    "Something between this browser and the server is in the way. Try another connection.",
  overloaded: "The server is busy just now. Try again in [{wait}|a moment].",
  storage_unavailable:
    "Profiles can’t be reached just now. Nothing is lost. Try again in [{wait}|a moment].",
  keys_unavailable:
    "Profiles can’t be opened just now. Nothing is lost. Try again in [{wait}|a moment].",
  service_unavailable:
    "The profile server is down just now. Nothing is lost. Try again in [{wait}|a moment].",
  profile_unreadable:
    "The stored data of this address can’t be read just now. The operators know; try again later.",
  internal_error:
    "The server made a mistake. Try again; if that does not help, tell its operators[ and give them this number: {request_id}].",
  proof_too_large: "The proof of your address can’t be read. Sign in again.",
  malformed_bundle: "The proof of your address can’t be read. Sign in again.",
  malformed_jws: "The proof of your address can’t be read. Sign in again.",
  header_not_allowed:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  algorithm_not_allowed:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  algorithm_mismatch:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  key_not_allowed:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  certificate_times_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  assertion_times_invalid: "The proof of your address can’t be read. Sign in again.",
  certificate_expired: "The proof of your address is too old. Sign in again.",
  assertion_expired: "The proof of your address is too old. Sign in again.",
  certificate_not_yet_valid:
    "The proof of your address is from the future. Check the clock of this device, then sign in again.",
  assertion_not_yet_valid:
    "The proof of your address is from the future. Check the clock of this device, then sign in again.",
  certificate_life_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  assertion_life_invalid: "The proof of your address can’t be read. Sign in again.",
  audience_mismatch: "The proof of your address was made for another website. Sign in again.",
  email_missing:
    "The provider does not confirm any address of yours. Use another address, or ask its provider.",
  email_invalid: "This address can’t be used here. Check how it is written, or use another one.",
  issuer_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  issuer_not_authoritative:
    "This provider has no authority over your address. Use another address, or ask its provider.",
  issuer_without_support:
    "The provider of your address does not support this way to sign in. Use another address, or ask its provider.",
  issuer_disabled:
    "The provider of your address has switched off this way to sign in. Use another address, or ask its provider.",
  dns_unavailable: "The provider of your address can’t be found just now. Try again later.",
  issuer_unreachable: "The provider of your address can’t be reached just now. Try again later.",
  issuer_address_forbidden:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  support_document_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  support_document_too_large:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  delegation_cycle:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  delegation_too_long:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  certificate_signature_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  assertion_signature_invalid: "The proof of your address is not valid. Sign in again.",
  issuer_unknown:
    "The profile server does not know the provider that you signed in at. Use another address, or ask its provider.",
  authorized_party_mismatch: "The proof of your address was made for another website. Sign in again.",
  token_times_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  token_expired: "The proof of your address is too old. Sign in again.",
  token_not_yet_valid:
    "The proof of your address is from the future. Check the clock of this device, then sign in again.",
  token_life_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  nonce_invalid: "The proof of your address was not made for this sign-in. Sign in again.",
  nonce_expired: "Signing in at the provider took too long. Sign in again.",
  subject_missing:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  email_not_verified:
    "The provider has not checked that the address is yours. Use another address, or ask its provider.",
  access_token_invalid: "The provider does not confirm your address any more. Sign in again.",
  userinfo_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  discovery_document_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  key_set_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  key_unknown: "The provider has changed its keys just now. Try again in a moment.",
  key_ambiguous:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  token_signature_invalid:
    "The provider of your address made a proof that is not accepted here. Use another address, or ask its provider.",
  key_binding_missing: "The proof of your address can’t be read. Sign in again.",
  key_binding_signature_invalid: "The proof of your address is not valid. Sign in again.",
  disclosures_not_allowed: "The proof of your address can’t be read. Sign in again.",
  sd_hash_mismatch: "The proof of your address is not valid. Sign in again.",
  domain_not_accepted:
    "This way to sign in is not accepted here for your address. Choose another way, or use another address.",
  issuer_record_missing:
    "The provider of your address does not support this way to sign in. Use another address, or ask its provider.",
  issuer_record_ambiguous:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  issuer_record_invalid:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  issuer_record_unsigned:
    "The provider of your address is not set up in a way that works here. Use another address, or ask its provider.",
  proof_replayed: "The proof of your address was used before. Sign in again.",
  proof_revoked: "You have signed out since the proof of your address was made. Sign in again.",
  unknown_code: "That did not work ({code}). Tell the operators of this website.",
  no_code:
    "Something went wrong here. This is a mistake of this page, not yours. Reload it; if that does not help, tell the operators of this website.",
  "field.name": "Name",
  "field.given_name": "Given name",
  "field.family_name": "Family name",
  "field.nickname": "Nickname",
  "field.pronouns": "Pronouns",
  "field.website": "Website",
  "field.locale": "Language",
  "field.zoneinfo": "Time zone",
  "field.label": "Label",
  "field.picture_alt": "Picture in words",
  "field.picture": "Picture",
  "field.email": "Address",
  "field.profile_key": "Key",
};
