// Made from the names in messages/ by "make format". Bundlers need a literal path for each language.

/** @type {Record<string, () => Promise<{ default: Record<keyof typeof import("./demo-messages-en.js").default, import("./persona-messages.js").Message> }>>} */
export const LOADERS = {
  ar: () => import("./demo-messages-ar.js"),
  de: () => import("./demo-messages-de.js"),
  es: () => import("./demo-messages-es.js"),
  fr: () => import("./demo-messages-fr.js"),
  ja: () => import("./demo-messages-ja.js"),
};
