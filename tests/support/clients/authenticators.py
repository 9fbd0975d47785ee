"""Virtual authenticators of a browser: passkeys without a finger."""

from __future__ import annotations

from typing import Any

from selenium import webdriver


class Authenticators:
    """The virtual authenticators of a browser, by the WebAuthn domain of its debugger."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self._browser = browser
        self._ids: list[str] = []
        self._call("enable")

    def add(self, transport: str = "internal", **changes: Any) -> str:
        """Plug in an authenticator with all abilities but for the changes; return its identifier."""
        options = {
            "protocol": "ctap2",
            "ctap2Version": "ctap2_1",
            "transport": transport,
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
            "hasPrf": True,
        }
        added = str(self._call("addVirtualAuthenticator", options=options | changes)["authenticatorId"])
        self._ids.append(added)
        return added

    def passkeys(self, authenticator: str) -> list[dict[str, Any]]:
        """Return the passkeys of an authenticator."""
        found = self._call("getCredentials", authenticatorId=authenticator)["credentials"]
        return list(found)

    def remove(self, authenticator: str) -> None:
        """Unplug an authenticator."""
        self._ids.remove(authenticator)
        self._call("removeVirtualAuthenticator", authenticatorId=authenticator)

    def close(self) -> None:
        """Unplug all of them."""
        for each in list(self._ids):
            self.remove(each)
        self._call("disable")

    def _call(self, method: str, **parameters: Any) -> Any:
        return self._browser.execute_cdp_cmd(f"WebAuthn.{method}", parameters)
