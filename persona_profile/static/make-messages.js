// Writes client/persona-messages-en.js from client/messages/en.json, and so for each language: a module, because
// a fetch would need more of a page's policy, and older browsers import no JSON.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";

const client = new URL("client/", import.meta.url);

for (const name of readdirSync(new URL("messages/", client))) {
  const messages = JSON.parse(readFileSync(new URL(`messages/${name}`, client), "utf8"));
  const module = `// Made from messages/${name} by "make format".

/** @type {import("./persona-messages.js").Translations} */
export default ${JSON.stringify(messages, null, 2)};
`;
  writeFileSync(new URL(`persona-messages-${name}`.replace(/json$/, "js"), client), module);
}
