// Made from the names in messages/ by "make format". Bundlers need a literal path for each language.

/** @type {Record<string, () => Promise<{ default: import("./persona-messages.js").Sentences }>>} */
export const LOADERS = {};
