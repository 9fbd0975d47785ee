// tsc holds each definition to its declaration; these tests hold the names that a module exports.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const CLIENT = new URL("../../../persona_profile/static/client/", import.meta.url);
const { exports } = JSON.parse(readFileSync(new URL("package.json", CLIENT), "utf8"));

const EXPORT = /^export (?:async )?(?:class|function|const) (\w+)|^export \{([^}]*)\}/gm;

function exported(name) {
  const text = readFileSync(new URL(name, CLIENT), "utf8");
  const names = Array.from(text.matchAll(EXPORT), ([, one, several]) => one ?? several.split(","));
  return names
    .flat()
    .map((each) => each.trim())
    .sort();
}

for (const { types, default: module } of Object.values(exports)) {
  test(`${module} exports the names that ${types} declares`, () => {
    const names = exported(module);
    assert.ok(names.length > 0);
    assert.deepEqual(names, exported(types));
  });
}

test("every module of the package is a file", () => {
  const files = readdirSync(CLIENT).map((name) => `./${name}`);
  const named = Object.values(exports).flatMap(Object.values);
  assert.deepEqual(
    named.filter((name) => !files.includes(name)),
    [],
  );
});
