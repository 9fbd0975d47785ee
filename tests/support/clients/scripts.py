"""Modules of the browser client, executed in a page of a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By

_FRAME = """
const [values, done] = arguments;
window.tools ??= {
  /** An assertion of the development identity provider of `origin`. */
  mint: async (email, origin = location.origin) => {
    const body = JSON.stringify({ email });
    const headers = { "Content-Type": "application/json" };
    const answer = await fetch(`${origin}/development/assertions`, { method: "POST", body, headers });
    return (await answer.json()).assertion;
  },
  signedIn: async (email = "alice@example.com", options = {}) => {
    const client = new module.ProfileClient({ origin: location.origin, ...options });
    await client.signIn([await tools.mint(email)]);
    return client;
  },
  file: () => document.querySelector("input[type=file]").files[0],
  base64: async (blob) => {
    const reader = new FileReader();
    const read = new Promise((resolve) => { reader.onload = resolve; });
    reader.readAsDataURL(blob);
    await read;
    return reader.result.split(",")[1];
  },
};
const fail = (error) => done({ error: { ...error, name: error.name, message: error.message } });
(async () => {
  window.module ??= await import("/static/persona-profile.js");
  const run = Object.getPrototypeOf(async () => {}).constructor;
  return new run(...Object.keys(values), BODY)(...Object.values(values));
})().then((value) => done({ value }), fail);
"""


class ScriptError(Exception):
    """An error of a script; `members` has the members of a ProfileError."""

    def __init__(self, members: dict[str, Any]) -> None:
        super().__init__(members.get("message"), members)
        self.members = members
        self.code = members.get("code")


class Scripts:
    """An empty page in which tests run the client: as `module`, with `tools`."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def open(self, url: str) -> None:
        """Load a page of the modules' origin; this ends earlier scripts."""
        self.browser.get(url)

    def run(self, body: str, **values: Any) -> Any:
        """Run the body of an asynchronous function; return its result. `values` are its variables.

        Raises:
            ScriptError: the script threw an error.
        """
        answer = self.browser.execute_async_script(_FRAME.replace("BODY", json.dumps(body)), values)
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer.get("value")

    def choose(self, path: Path) -> None:
        """Choose a file in an input of the page, for `tools.file()`."""
        self.browser.execute_script(
            "document.querySelectorAll('input').forEach((each) => each.remove());"
            "const input = document.createElement('input'); input.type = 'file';"
            "document.body.append(input);"
        )
        self.browser.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(path))
