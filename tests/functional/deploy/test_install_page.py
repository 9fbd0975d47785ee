"""The guides docs/how-to/install.md and operate.md, executed literally on a Debian in a container.

Two programs are replaced: there is no systemd, and no authority of certificates.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from support import ROOT
from support.clients.identities import bundle, rsa_key, support_document
from support.clients.recording import recorder
from support.servers.containers import Debian, Engine

pytestmark = pytest.mark.timeout(600)

PAGE = "".join((ROOT / f"docs/how-to/{name}.md").read_text() for name in ("install", "operate"))
BLOCKS = re.findall(r"^```sh(?: (\w+))?\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
DOMAIN = "cards.example.net"
VARIABLES = f"DOMAIN={DOMAIN} DIALOG=https://dialog.example.net\ncd /root/clone\n"
UNCLONED = shutil.ignore_patterns(
    ".*", "var", "build", "dist", "*.egg-info", "node_modules", "__pycache__", "tests"
)
SYSTEMCTL = """\
#!/bin/sh -eu
# In place of systemd: starts nginx, and the unit's command by its user with its credential.
unit=/etc/systemd/system/persona-profile.service
case "$*" in
daemon-reload) ;;
"restart nginx") nginx ;;
"enable --now persona-profile")
    install -d -m 0700 -o persona-profile /var/lib/persona-profile /run/credential
    install -m 0400 -o persona-profile "$(sed -n 's/^LoadCredential=backend.url://p' $unit)" \
        /run/credential/backend.url
    cd /var/lib/persona-profile
    export PERSONA_BACKEND_URL_FILE=/run/credential/backend.url
    export PERSONA_BROWSERID_PINNED_ISSUERS=/etc/persona-profile/issuers.json
    setsid setpriv --reuid persona-profile --regid persona-profile --clear-groups --no-new-privs \
        --inh-caps=-all --bounding-set=-all $(sed -n 's/^ExecStart=//p' $unit) \
        >/var/log/persona-profile.log 2>&1 &
    until curl --silent --fail --output /dev/null http://127.0.0.1:6543/__heartbeat__; do
        kill -0 $!
        sleep 0.2
    done
    ;;
*) exit 1 ;;
esac
"""
CERTBOT = """\
#!/bin/sh -eu
# In place of an authority: fetches a challenge from the folder by the name.
[ "$1 $2 $3 $5" = "certonly --webroot -w -d" ]
umask 022
mkdir -p "$4/.well-known/acme-challenge"
echo challenge > "$4/.well-known/acme-challenge/x"
url="http://$6/.well-known/acme-challenge/x"
[ "$(curl --silent --fail --resolve "$6:80:127.0.0.1" "$url")" = challenge ]
"""


def commands(*kinds: str) -> list[str]:
    """Return the code blocks of some kinds, in their order."""
    return [text for kind, text in BLOCKS if kind in kinds]


@pytest.fixture(scope="module")
def machine(base_engine: Engine) -> Iterator[Debian]:
    """A Debian with a clone, a database server, and the replaced programs."""
    made = base_engine.debian("installed")
    try:
        shutil.copytree(ROOT, made.root / "root/clone", ignore=UNCLONED)
        yield made
    finally:
        made.close()


def replace(machine: Debian) -> None:
    """Write the replaced programs, and the trust in the tests' issuer."""
    for name, text in {"systemctl": SYSTEMCTL, "certbot": CERTBOT}.items():
        path = machine.root / "usr/local/bin" / name
        path.write_text(text)
        path.chmod(0o755)
    config = machine.root / "etc/persona-profile"
    config.mkdir()
    issuers = {"example.com": support_document(rsa_key("issuer"))}
    (config / "issuers.json").write_text(json.dumps(issuers))


def ask(machine: Debian, method: str, path: str, body: str = "", token: str = "") -> tuple[int, Any]:
    """Send JSON to nginx; return status and JSON."""
    words = ["curl", "--silent", "--insecure", "--resolve", f"{DOMAIN}:443:127.0.0.1"]
    words += ["--request", method, "--header", "Content-Type: application/json", "--data", body]
    words += ["--header", f"Authorization: Bearer {token}"] if token else []
    words += ["--write-out", "\\n%{http_code}", f"https://{DOMAIN}{path}"]
    document, _, status = machine.run(shlex.join(words)).rpartition("\n")
    return int(status), json.loads(document)


def test_install_page(machine):
    """The pasted commands install a service with TLS and a database, and people sign in to it."""
    variables, system, program, *others = commands("", "system")
    preamble = VARIABLES + variables
    machine.install(preamble + system + program)
    replace(machine)
    machine.start()
    if kept := recorder():
        kept.log(machine.root / "var/log/persona-profile.log")
    machine.run("service mariadb start")
    machine.run(preamble + "".join(others))
    output = machine.run(preamble + "".join(commands("check")))
    assert '"Persona Profile Server"' in output
    assert "No findings." in output
    assert re.search(r"^\d+ ok, 1 warnings, 0 failed\.$", output, re.MULTILINE), output
    proof = bundle("alice@example.com", f"https://{DOMAIN}")
    body = json.dumps({"proofs": [{"assertion": proof}]})
    status, answer = ask(machine, "POST", "/v1/sessions", body)
    assert (status, [each["email"] for each in answer["profiles"]]) == (201, ["alice@example.com"])
    path, token = "/v1/profiles/alice@example.com", answer["token"]
    assert ask(machine, "PATCH", path, '{"name": "Alice"}', token)[0] == 200
    assert "There was no picture." in machine.run(preamble + "".join(commands("picture")))
    assert machine.run(preamble + "".join(commands("people"))).endswith("Erased.\n")
    with zipfile.ZipFile(machine.root / "root/clone/alice.zip") as files:
        assert json.loads(files.read("profile.json"))["name"] == "Alice"
    assert ask(machine, "GET", path, token=token)[1]["name"] is None
