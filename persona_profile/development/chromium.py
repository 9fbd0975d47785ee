"""The command line of a Chromium that gets email verification tokens from the development server.

`python -m persona_profile.development.chromium` starts it on the demo page, with a profile of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Final

from persona_profile.development.email_verification_issuer import HOST
from persona_profile.settings import DEVELOPMENT_LISTEN

RESOLVER_PATH: Final = "/development/dns"
DEFAULT_ORIGIN: Final = "http://localhost:6543"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def switches(origin: str, issuer: tuple[str, int]) -> list[str]:
    """Return the switches by which Chromium finds the issuer of a development server.

    No name is looked up in the network: the issuer's host leads to its port of loopback, and no other
    host is found.

    Args:
        origin: the origin of the development server, which answers for DNS.
        issuer: host and port of loopback where the issuer listens.
    """
    host, port = issuer
    rules = f"MAP {HOST} {host}:{port},MAP * ~NOTFOUND,EXCLUDE localhost,EXCLUDE 127.0.0.1"
    return [
        "--enable-features=EmailVerificationProtocol",
        f"--dns-txt-resolver-url-prefix={origin}{RESOLVER_PATH}?name=",
        f"--host-resolver-rules={rules}",
        # The issuer's certificate is signed by itself. This profile opens no other site.
        "--ignore-certificate-errors",
        "--no-first-run",
        "--disable-background-networking",
    ]


def main(arguments: Sequence[str]) -> int:
    """Start Chromium on the page of an origin, and wait for its end."""
    origin = arguments[0] if arguments else DEFAULT_ORIGIN
    program = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if program is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is installed")
    # Chromium's sandbox does not run for root.
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    issuer = DEVELOPMENT_LISTEN["development.issuer_listen"]
    # Another profile remembers answers, and ignores certificate errors of every site.
    with tempfile.TemporaryDirectory(prefix="persona-chromium-", ignore_cleanup_errors=True) as folder:
        profile = f"--user-data-dir={folder}"
        command = [program, profile, *sandbox, *switches(origin, issuer), f"{origin}/"]
        with contextlib.suppress(KeyboardInterrupt):  # it ends the browser too
            return subprocess.run(command, check=False).returncode  # noqa: S603 - a program of PATH
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
