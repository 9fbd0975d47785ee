// Sorts messages/*.json of the client and of the demo, and writes a module for each language and the list of
// languages: modules, because a fetch would need more of a page's policy, and older browsers import no JSON.

import { readFileSync, readdirSync, writeFileSync } from "node:fs";

/** Other languages are fetched only if they are chosen. */
const BUILT_IN = "en";

/**
 * @param {string} folder
 * @param {string} prefix of the modules
 * @param {string} type of the sentences of a language
 * @param {string} [typeOfEnglish] none to declare each key
 */
function make(folder, prefix, type, typeOfEnglish) {
  const base = new URL(`${folder}/`, import.meta.url);
  const languages = readdirSync(new URL("messages/", base)).map((name) => name.replace(".json", ""));
  for (const language of languages) {
    const file = new URL(`messages/${language}.json`, base);
    const messages = Object.entries(JSON.parse(readFileSync(file, "utf8")));
    messages.sort(([key], [other]) => (key < other ? -1 : 1));
    const sorted = JSON.stringify(Object.fromEntries(messages), null, 2);
    const annotated = language === BUILT_IN ? typeOfEnglish : type;
    const annotation = annotated ? `/** @type {${annotated}} */\n` : "";
    writeFileSync(file, `${sorted}\n`);
    writeFileSync(
      new URL(`${prefix}-${language}.js`, base),
      `// Made from messages/${language}.json by "make format".\n\n${annotation}export default ${sorted};\n`,
    );
  }
  const loaded = languages.filter((language) => language !== BUILT_IN).sort();
  const loaders = loaded.map(
    (language) => `  ${JSON.stringify(language)}: () => import("./${prefix}-${language}.js"),\n`,
  );
  writeFileSync(
    new URL(`${prefix.replace("messages", "languages")}.js`, base),
    `// Made from the names in messages/ by "make format". Bundlers need a literal path for each language.

/** @type {Record<string, () => Promise<{ default: ${type} }>>} */
export const LOADERS = {
${loaders.join("")}};
`,
  );
}

const MODULE = 'import("./persona-messages.js")';
const DEMO = 'keyof typeof import("./demo-messages-en.js").default';

make("client", "persona-messages", `${MODULE}.Sentences`, `${MODULE}.Sentences`);
make("demo", "demo-messages", `Record<${DEMO}, ${MODULE}.Message>`);
