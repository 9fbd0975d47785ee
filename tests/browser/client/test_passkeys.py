"""A person's own key from a passkey, in a real Chromium with virtual authenticators."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from selenium import webdriver
from support.clients.authenticators import Authenticators
from support.servers.applications import development_server

from persona_profile.encoding import base64url_decode

ASK = """
const [work, argument, done] = arguments;
(async () => {
  const passkeys = await import("/static/persona-passkey.js");
  const options = { name: "alice@example.com", service: "Persona Profiles", ...argument };
  return { value: await passkeys[work](options) };
})().then(done, ({ code, message, name }) => done({ code: code ?? name, message }));
"""

# What the page's own calls give, changed as faulty browsers and authenticators do.
MEND_GET = """
window.asked = 0;
const get = CredentialsContainer.prototype.get;
CredentialsContainer.prototype.get = async function (...options) {
  const credential = await get.apply(this, options);
  window.asked += 1;
  (CHANGE)(credential, window.asked);
  return credential;
};
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The origin of a server, as passkeys need it: with a name."""
    with development_server(tmp_path_factory.mktemp("server")) as address:
        yield address.replace("127.0.0.1", "localhost")


@pytest.fixture
def authenticators(browser: webdriver.Chrome, origin: str) -> Iterator[Authenticators]:
    """A page without authenticators."""
    browser.get(origin)
    browser.set_script_timeout(30)
    plugged = Authenticators(browser)
    yield plugged
    plugged.close()


@pytest.fixture
def ask(browser: webdriver.Chrome, authenticators: Authenticators) -> Any:
    """Call a function of the module; return its value, or the code of its error."""

    def call(work: str, **argument: Any) -> Any:
        answer = browser.execute_async_script(ASK, work, argument)
        return answer.get("code") or answer["value"]

    return call


def change(browser: webdriver.Chrome, body: str) -> None:
    """Change each credential that the browser returns: `credential`, and its number from 1."""
    browser.execute_script(MEND_GET.replace("CHANGE", f"(credential, number) => {{ {body} }}"))


class TestKeys:
    """The key of a passkey."""

    @pytest.mark.parametrize("transport", ["internal", "usb", "hybrid"])
    def test_same_key_each_time(self, ask, authenticators, transport):
        """A passkey gives the key of its making at every use, 32 bytes."""
        authenticators.add(transport)
        made = ask("createPasskey")
        assert len(base64url_decode(made["profileKey"])) == 32
        assert ask("usePasskey") == ask("usePasskey") == made["profileKey"]

    def test_two_passkeys(self, ask, authenticators):
        """A second passkey on the same authenticator replaces nothing, and has another key."""
        only = authenticators.add()
        first, second = ask("createPasskey"), ask("createPasskey")
        assert first["profileKey"] != second["profileKey"]
        kept = [
            base64.urlsafe_b64encode(base64.b64decode(each["credentialId"]))
            for each in authenticators.passkeys(only)
        ]
        assert {each.rstrip(b"=").decode() for each in kept} == {first["id"], second["id"]}
        users = [each["userHandle"] for each in authenticators.passkeys(only)]
        assert len(set(users)) == 2

    def test_excluded(self, ask, authenticators):
        """An authenticator that has an excluded passkey makes no second one."""
        only = authenticators.add()
        made = ask("createPasskey")
        assert ask("createPasskey", exclude=[made["id"]]) == "passkey_exists"
        assert len(authenticators.passkeys(only)) == 1

    def test_another_authenticator(self, ask, authenticators):
        """Another authenticator has another key."""
        plugged = authenticators.add("usb")
        first = ask("createPasskey")
        authenticators.remove(plugged)
        authenticators.add("usb")
        assert ask("createPasskey")["profileKey"] != first["profileKey"]


class TestUnsupported:
    """Browsers and authenticators that give no key, or not always the same."""

    def test_no_prf(self, ask, authenticators):
        """An authenticator without PRF is unsupported."""
        authenticators.add(hasPrf=False)
        assert ask("createPasskey") == "passkey_unsupported"
        assert ask("usePasskey") == "passkey_unsupported"

    def test_nobody_verified(self, ask, authenticators):
        """An authenticator that verifies nobody gives no key."""
        authenticators.add(isUserVerified=False)
        assert ask("createPasskey") == "passkey_cancelled"

    def test_no_passkey(self, ask, authenticators):
        """Without a passkey there is no key."""
        authenticators.add()
        assert ask("usePasskey") == "passkey_cancelled"

    def test_foreign_domain(self, ask, authenticators):
        """Another domain's passkeys are forbidden."""
        authenticators.add()
        assert ask("createPasskey", rpId="example.com") == "passkey_forbidden"
        assert ask("usePasskey", rpId="example.com") == "passkey_forbidden"

    @pytest.mark.parametrize(
        "results", ["{}", "{ prf: {} }", "{ prf: { enabled: false } }", "{ prf: { results: {} } }"]
    )
    def test_ways_of_no(self, ask, authenticators, browser, results):
        """A browser says in several ways that there is no secret."""
        authenticators.add()
        change(browser, f"credential.getClientExtensionResults = () => ({results});")
        assert ask("createPasskey") == "passkey_unsupported"

    def test_short_secret(self, ask, authenticators, browser):
        """A secret of another length is none."""
        authenticators.add()
        results = "{ prf: { results: { first: new ArrayBuffer(16) } } }"
        change(browser, f"credential.getClientExtensionResults = () => ({results});")
        assert ask("createPasskey") == "passkey_unsupported"

    def test_another_secret_each_time(self, ask, authenticators, browser):
        """A passkey whose secrets differ is unreliable; the keys are compared before one is used."""
        authenticators.add("usb")
        change(
            browser,
            "const first = new Uint8Array(32).fill(number);"
            "credential.getClientExtensionResults = () => ({ prf: { results: { first } } });",
        )
        assert ask("createPasskey") == "passkey_unreliable"
        assert browser.execute_script("return window.asked") == 2

    def test_unverified_answer(self, ask, authenticators, browser):
        """An answer without the flag of a verified person gives no key."""
        authenticators.add()
        change(
            browser,
            "const data = new Uint8Array(credential.response.authenticatorData.slice());"
            "data[32] &= ~4;"
            "const value = { authenticatorData: data.buffer };"
            "Object.defineProperty(credential, 'response', { value });",
        )
        assert ask("createPasskey") == "passkey_unreliable"
        assert ask("usePasskey") == "passkey_unreliable"

    def test_windows_hello(self, ask, authenticators, browser):
        """If making a passkey fails at the extension, it is made without, and asked for its key."""
        authenticators.add()
        browser.execute_script("""
            const create = CredentialsContainer.prototype.create;
            CredentialsContainer.prototype.create = function (options) {
              return options.publicKey.extensions.prf
                ? Promise.reject(new DOMException("", "UnknownError"))
                : create.call(this, options);
            };""")
        assert ask("createPasskey")["profileKey"] == ask("usePasskey")


class TestSupport:
    """What the page knows before anybody is asked."""

    def test_supported(self, ask, authenticators):
        """Chromium lists the extension among its capabilities."""
        assert ask("support") == "supported"

    def test_address(self, browser, origin):
        """On an IP address there are no passkeys."""
        browser.get(origin.replace("localhost", "127.0.0.1"))
        assert browser.execute_async_script(ASK, "support", {}) == {"value": "address"}

    @pytest.mark.parametrize(
        ("change", "answer"),
        [
            ("delete window.PublicKeyCredential", "unsupported"),
            ("delete PublicKeyCredential.getClientCapabilities", "unknown"),
            ("PublicKeyCredential.getClientCapabilities = async () => ({})", "unknown"),
            (
                "PublicKeyCredential.getClientCapabilities = async () => ({ 'extension:prf': false })",
                "unsupported",
            ),
            ("Object.defineProperty(window, 'isSecureContext', { value: false })", "insecure"),
        ],
    )
    def test_other_browsers(self, browser, origin, change, answer):
        """Older browsers, and those without the extension, are recognised."""
        browser.get(origin)
        browser.execute_script(change)
        assert browser.execute_async_script(ASK, "support", {}) == {"value": answer}

    def test_no_passkeys_at_all(self, browser, origin):
        """In a browser without WebAuthn the calls fail with a code."""
        browser.get(origin)
        browser.execute_script("delete window.PublicKeyCredential")
        for work in ("createPasskey", "usePasskey"):
            assert browser.execute_async_script(ASK, work, {})["code"] == "passkey_unsupported"
