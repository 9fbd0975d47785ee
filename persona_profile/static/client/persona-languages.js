// Made from the names in messages/ by "make format". Bundlers need a literal path for each language.

/** @type {Record<string, () => Promise<{ default: import("./persona-messages.js").Sentences }>>} */
export const LOADERS = {
  ar: () => import("./persona-messages-ar.js"),
  de: () => import("./persona-messages-de.js"),
  es: () => import("./persona-messages-es.js"),
  fr: () => import("./persona-messages-fr.js"),
  ja: () => import("./persona-messages-ja.js"),
};
