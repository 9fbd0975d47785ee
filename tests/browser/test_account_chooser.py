"""Chromium's own account chooser with the identity provider of docs/how-to/fedcm.md."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
import wsgiref.simple_server
from pathlib import Path
from socketserver import ThreadingMixIn

import pytest
import webtest
from selenium.webdriver.support.ui import WebDriverWait
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application, running
from support.servers.ports import free_port

ALICE, BOB = "alice@example.com", "bob@example.org"
GUIDE = Path(__file__).parents[2] / "docs/how-to/fedcm.md"
COOKIE = "session=cookie-1; Path=/; Secure; HttpOnly; SameSite=None"

ASK = """
const [configURL, options] = arguments;
window.outcome = null;
const providers = [{ configURL, clientId: "website", params: { nonce: "n" }, ...options }];
navigator.credentials.get({ identity: { providers } }).then(
  ({ token }) => { outcome = token; },
  (error) => { outcome = String(error); },
);
"""


class _Server(ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_arguments):
        """Log nothing."""


@contextlib.contextmanager
def serving(application):
    """Serve a WSGI application; yield its origin with a name that browsers take for secure."""
    with wsgiref.simple_server.make_server("127.0.0.1", 0, application, _Server, _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class Provider:
    """The guide's accounts endpoint with the other endpoints of a provider."""

    def __init__(self):
        guide = GUIDE.read_text("utf-8")
        [example] = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
        self.example = {}
        exec(compile(example, str(GUIDE), "exec"), self.example)
        # The file of a server that also issues email verification tokens.
        [self.file] = re.findall(
            r'^```json\n({\n  "provider_urls.*?)^```', guide, re.MULTILINE | re.DOTALL
        )
        self.requests = []
        self.chosen = None

    def __call__(self, environ, start_response):
        """Answer a browser."""
        path = environ["PATH_INFO"]
        self.requests.append((path, environ.get("HTTP_SEC_FETCH_DEST")))
        if path == "/accounts":
            return self.example["accounts"](environ, start_response)
        origin = f"http://{environ['HTTP_HOST']}"
        headers = [("Content-Type", "application/json")]
        document = {
            "/.well-known/web-identity": json.loads(
                self.file.replace("https://accounts.idp.example", origin)
            ),
            "/fedcm.json": {
                "accounts_endpoint": "/accounts",
                "id_assertion_endpoint": "/assertion",
                "login_url": "/login",
            },
            "/login": {},
            "/assertion": {"token": "of the provider"},
        }.get(path)
        if path == "/login":
            headers += [("Set-Cookie", COOKIE), ("Set-Login", "logged-in")]
        if path == "/assertion":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
            self.chosen = re.search("account_id=([^&]*)", body)[1]
            headers += [
                ("Access-Control-Allow-Origin", environ["HTTP_ORIGIN"]),
                ("Access-Control-Allow-Credentials", "true"),
            ]
        start_response("404 Not Found" if document is None else "200 OK", headers)
        return [json.dumps(document).encode()]


def website(_environ, start_response):
    """A page of another site that requests a sign-in."""
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    return [b"<!doctype html><title>A website</title><link rel=icon href='data:,'>"]


@pytest.fixture
def profile_server(development_folder):
    """A profile server with Alice's name and picture: its origin and a session's token."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    app = application(development_folder, public_origins=origin)
    client = webtest.TestApp(app, extra_environ={"HTTP_HOST": f"127.0.0.1:{port}"})
    proofs = [
        {"assertion": app.development.identity_provider.bundle(email, origin)} for email in (ALICE, BOB)
    ]
    token = client.post_json("/v1/sessions", {"proofs": proofs}).json["token"]
    headers = {"Authorization": f"Bearer {token}"}
    client.patch_json(f"/v1/profiles/{ALICE}", {"name": "Alice Example"}, headers=headers)
    upload = headers | {"Content-Type": "image/jpeg"}
    client.put(f"/v1/profiles/{ALICE}/picture", encode(quadrants()), headers=upload)
    with running(app, port):
        yield origin, token
    app.close()


@pytest.fixture
def asking(browser, profile_server):
    """The guide's provider, and a function that requests a sign-in from a website."""
    provider = Provider()
    provider.example["PROFILES"], provider.example["SESSIONS"]["cookie-1"] = profile_server
    with serving(provider) as origin, serving(website) as site:
        browser.get(f"{origin}/login")
        browser.get(site)
        browser.fedcm.disable_delay()
        browser.fedcm.reset_cooldown()

        def ask(**options):
            browser.execute_script(ASK, f"{origin}/fedcm.json", options)
            return browser.fedcm_dialog(timeout=20)

        yield provider, ask
        browser.get("about:blank")


def outcome(browser):
    """Return the website's result."""
    return WebDriverWait(browser, 20, 0.05).until(
        lambda _: browser.execute_script("return window.outcome")
    )


def test_guide_in_a_browser(browser, asking, caplog):
    """Chromium shows the accounts, fetches the picture, and returns the choice by its identifier."""
    caplog.set_level(logging.INFO, logger="persona_profile.requests")
    provider, ask = asking
    dialog = ask()
    alice, bob = dialog.get_accounts()
    assert (alice.name, alice.given_name, alice.email) == ("Alice Example", "", ALICE)
    assert (bob.name, bob.email) == ("bob", BOB)
    dialog.select_account(0)
    assert outcome(browser) == "of the provider"
    assert provider.chosen == alice.account_id
    assert ("/accounts", "webidentity") in provider.requests
    # The browser fetched the only picture.
    requests = [record.fields for record in caplog.records if record.name == "persona_profile.requests"]
    assert [each["code"] for each in requests if "pictures" in each["route"]] == [200]


def test_login_hint(browser, asking):
    """A login hint limits the chooser to that account."""
    _, ask = asking
    dialog = ask(loginHint=BOB)
    assert [account.email for account in dialog.get_accounts()] == [BOB]
    dialog.dismiss()
    assert "Error" in outcome(browser)
