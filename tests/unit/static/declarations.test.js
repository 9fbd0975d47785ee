// tsc holds each definition to its declaration; these tests hold the names that a module exports.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const ROOT = new URL("../../../", import.meta.url);
const CLIENT = new URL("persona_profile/static/client/", ROOT);
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

const DECLARED = Object.values(exports).filter(({ types }) => types);

for (const { types, default: module } of DECLARED) {
  test(`${module} exports the names that ${types} declares`, () => {
    const names = exported(module);
    assert.ok(names.length > 0);
    assert.deepEqual(names, exported(types));
  });
}

test("the modules that pages import are declared", () => {
  const undeclared = Object.keys(exports).filter((name) => !exports[name].types);
  assert.deepEqual(undeclared, ["./worker", "./package.json"]);
});

test("every module of the package is a file", () => {
  const files = readdirSync(CLIENT).map((name) => `./${name}`);
  const named = Object.values(exports).flatMap((each) => (each.types ? Object.values(each) : each));
  assert.deepEqual(
    named.filter((name) => !files.includes(name)),
    [],
  );
});

for (const name of Object.keys(exports).filter((each) => each !== "./package.json")) {
  test(`${name} can be imported where there is no DOM`, async () => {
    assert.equal(typeof document, "undefined");
    await import(new URL(exports[name].default ?? exports[name], CLIENT));
  });
}

test("the version is that of the service, and the license is its own", () => {
  const [, version] = /^version = "(.*)"$/m.exec(readFileSync(new URL("pyproject.toml", ROOT), "utf8"));
  const manifest = JSON.parse(readFileSync(new URL("package.json", CLIENT), "utf8"));
  assert.equal(manifest.version, version);
  assert.equal(
    readFileSync(new URL("LICENSE", CLIENT), "utf8"),
    readFileSync(new URL("LICENSE", ROOT), "utf8"),
  );
});
