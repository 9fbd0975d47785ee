"""The guide to moving in: its scripts, run on files of the systems that they are for; its codes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import ROOT

from persona_profile.importing.folder import Folder
from persona_profile.importing.table import Table, open_table

PAGE = (ROOT / "docs/how-to/import.md").read_text()
PICTURE = b"\xff\xd8\xff" + bytes(range(256))


def script(name: str) -> str:
    """Return a script of the page."""
    [found] = re.findall(rf"^```python {name}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return found


def imported(folder: Path, code: str, pictures: str = "faces") -> list[dict[str, object]]:
    """Run a script; return the rows that an import would read, with the pictures' bytes."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = []
    with open_table(folder / "people.csv") as file, Folder(folder / pictures, 10**6) as opened:
        table = Table(file)
        table.check()
        for row in table.rows():
            cells: dict[str, object] = dict(row.cells)
            if "picture_file" in cells:
                with opened.opened(str(cells["picture_file"])) as picture:
                    cells["picture_file"] = picture.read()
            rows.append(cells)
    return rows


class Avatars(BaseHTTPRequestHandler):
    """Answers as Gravatar does: with the picture of one person, and 404 for all others."""

    def do_GET(self) -> None:
        known = hashlib.sha256(b"alice@example.com").hexdigest()
        found = self.path == f"/avatar/{known}?s=512&d=404"
        self.send_response(200 if found else 404)
        self.end_headers()
        if found:
            self.wfile.write(PICTURE)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def test_gravatar(tmp_path):
    """The picture of each known address is fetched; an address without one is left out."""
    (tmp_path / "emails.txt").write_text(" Alice@Example.com\n\nbob@example.com\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Avatars) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        site = f"http://127.0.0.1:{server.server_port}/"
        code = (
            script("avatars").replace("https://gravatar.com/", site).replace("PAUSE = 0.5", "PAUSE = 0")
        )
        try:
            assert imported(tmp_path, code) == [{"email": "Alice@Example.com", "picture_file": PICTURE}]
        finally:
            server.shutdown()
            thread.join()


def test_libravatar(tmp_path):
    """Each email of an export has its photo, also where the photo is in Python's notation."""
    encoded = base64.encodebytes(PICTURE).decode()
    notation = f"b'{encoded}'".replace("\n", "\\n")
    (tmp_path / "exports").mkdir()
    for name, text in (("a", encoded), ("b", notation)):
        document = f"""<?xml version="1.0" encoding="UTF-8"?>
            <user xmlns="https://www.libravatar.org/schemas/export/0.2">
            <account username="{name}" password="!"/>
            <emails><email photo_id="7">{name}@example.com</email>
            <email photo_id="None">x@example.com</email></emails><openids/>
            <photos><photo id="7" encoding="base64" format="jpg">{text}</photo></photos></user>"""
        path = tmp_path / "exports" / f"{name}.xml.gz"
        path.write_bytes(gzip.compress(document.encode()))
    assert imported(tmp_path, script("libravatar")) == [
        {"email": "a@example.com", "picture_file": PICTURE},
        {"email": "b@example.com", "picture_file": PICTURE},
    ]


def test_zulip(tmp_path):
    """Active people of an export have their original avatars; bots are left out."""
    folder = tmp_path / "avatars" / "2"
    folder.mkdir(parents=True)
    (folder / "0a.original").write_bytes(PICTURE)
    (folder / "0a.png").write_bytes(b"small")
    records = [{"user_profile_id": 11, "path": f"2/0a.{kind}"} for kind in ("original", "png")]
    (tmp_path / "avatars" / "records.json").write_text(json.dumps(records))
    people = [
        (11, "alice@example.com", "Zoë", "Europe/Paris", True, False),
        (12, "bob@example.com", "Bob, B.", "", True, False),
        (13, "gone@example.com", "Gone", "", False, False),
        (14, "bot@example.com", "Bot", "", True, True),
    ]
    names = ("id", "delivery_email", "full_name", "timezone", "is_active", "is_bot")
    realm = {"zerver_userprofile": [dict(zip(names, each, strict=True)) for each in people]}
    (tmp_path / "realm.json").write_text(json.dumps(realm))
    assert imported(tmp_path, script("zulip"), "avatars") == [
        {
            "email": "alice@example.com",
            "name": "Zoë",
            "zoneinfo": "Europe/Paris",
            "picture_file": PICTURE,
        },
        {"email": "bob@example.com", "name": "Bob, B."},
    ]


@pytest.mark.parametrize("attribute", ["jpegPhoto", "thumbnailPhoto", "jpegPhoto;binary"])
def test_ldap(tmp_path, attribute):
    """Entries of an LDIF with an email have their names and photos, also folded and in base64."""
    photo = base64.b64encode(PICTURE).decode()
    folded = "\n ".join(photo[start : start + 70] for start in range(0, len(photo), 70))
    name = base64.b64encode("Zoë Å".encode()).decode()
    (tmp_path / "people.ldif").write_text(
        f"dn: uid=alice,dc=example\nmail: alice@example.com\nmail: second@example.com\n"
        f"displayName:: {name}\ngivenName: Zoë\nsn: A: B\n{attribute}:: {folded}\n\n"
        "# refldap://elsewhere\n\ndn: uid=printer,dc=example\nsn: Printer\n\n"
        "dn: uid=bob,dc=example\nmail: bob@example.com\nsn: Bob\n\n"
    )
    assert imported(tmp_path, script("ldif")) == [
        {
            "email": "alice@example.com",
            "name": "Zoë Å",
            "given_name": "Zoë",
            "family_name": "A: B",
            "picture_file": PICTURE,
        },
        {"email": "bob@example.com", "family_name": "Bob"},
    ]


def test_codes():
    """The page names each code; the table has those of an import, the text the API's."""
    source = "".join(path.read_text() for path in (ROOT / "persona_profile/importing").glob("*.py"))
    codes = set(re.findall(r'RowRejected\(\s*"([a-z_]+)"', source))
    assert len(codes) > 10
    listed = set(re.findall(r"^\| `([a-z_]+)` \|", PAGE, re.MULTILINE)) - {"picture_file"}
    assert listed <= codes
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
