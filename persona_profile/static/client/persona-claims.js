// The claims of a profile, in the order of the service's.

/** @import { Claims } from "./persona-profile.js" */

/** @type {readonly (keyof Claims)[]} */
export const CLAIMS = [
  "name",
  "given_name",
  "family_name",
  "nickname",
  "pronouns",
  "website",
  "locale",
  "zoneinfo",
  "label",
  "picture_alt",
];
