// Servers publish client and demo as one folder: a demo module imports the client's as its neighbours. Import this
// first, and demo modules by `await import(...)`.

import { register } from "node:module";

const HOOK = `
import { existsSync } from "node:fs";
export async function resolve(specifier, context, next) {
  const url = context.parentURL?.includes("/static/demo/") && new URL(specifier, context.parentURL);
  const isElsewhere = url && url.protocol === "file:" && !existsSync(url);
  return next(isElsewhere ? url.href.replace("/static/demo/", "/static/client/") : specifier, context);
}`;

register(`data:text/javascript,${encodeURIComponent(HOOK)}`);
