"""The search for personal data at the end of a run: complete, and without false alarms."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from pathlib import Path

import pytest
from support.clients.leaks import leaks, search
from support.clients.recording import LOGS, RECORD, Recorder
from support.pictures.pictures import encode, quadrants

CLAIM = "Zanzibar \u00c9lise"


@pytest.fixture
def secrets(app, sign_in, assertion):
    """A person's secrets by kind."""
    headers = sign_in("alice@example.com")
    path = "/v1/profiles/alice@example.com/picture"
    picture = app.put(path, encode(quadrants()), headers=headers | {"Content-Type": "image/jpeg"})
    return {
        "token": headers["Authorization"].removeprefix("Bearer "),
        "capability": picture.json["picture"]["urls"]["64"].rpartition("/")[2],
        "assertion": assertion("alice@example.com").rpartition(".")[2],
        "profile key": "gnXgXUK2PVXpYEUJ2UUAyMhWhsEoIcvhdQJBBuZ0Ms0",
    }


@pytest.mark.parametrize(
    "line",
    [
        "WARNING requests: {} was rejected",
        '{{"Type":"app","Fields":{{"msg":"{}"}}}}',
        'total{{route="{}"}}',
    ],
    ids=["text", "mozlog", "metrics"],
)
def test_each_is_found(secrets, line):
    """Every email, address, claim and secret is reported with its line."""
    for what in secrets.values():
        text = line.format(what)
        assert [(each.kind, each.line) for each in leaks([text])] == [("secret", text)], what
    for kind, what in (
        ("email", "alice@example.com"),
        ("address", "192.0.2.1"),
        ("address", "2001:db8::17"),
        ("address", "::1"),
    ):
        assert [(each.kind, each.what) for each in leaks([line.format(what)])] == [(kind, what)]
    for spelling in (CLAIM, "Zanzibar \\u00c9lise"):
        text = line.format(spelling)
        assert [(each.kind, each.what) for each in leaks([text], {CLAIM})] == [("claim", CLAIM)]


def test_what_services_say_is_no_leak():
    """Times, request ids, versions, code locations and a server's own address are no leaks."""
    lines = [
        "INFO requests: request.summary method=GET route=/v1/profiles/{email} code=200 t=1.5 rid="
        + "0a" * 16,
        "2026/11/24 20:54:08 [notice] 30632#30632: nginx/1.22.1",
        "Persona Profile Server, for development (throw-away keys), listens on http://127.0.0.1:6543/",
        "warning front http://127.0.0.1:40441: paths: /__heartbeat__ can be read -> forward /v1/ alone",
        "ok      service 127.0.0.1:40441: health: it can do its work",
        "ERROR app: mistake (KeyError at /tmp/test_rotation_under_load_mysql_encryption1/errors.py:17)",
        (
            'persona_http_request_duration_seconds_bucket{le="0.005",method="GET",'
            'route="/v1/profiles/{email}"} 1.0'
        ),
    ]
    assert list(leaks(lines, {"Work", "Somebody Else"})) == []


def test_whole_way(tmp_path, app):
    """Logs, metrics and output of a run are searched for the claims that clients sent."""
    planted = Recorder(tmp_path, loggers=["planted"])
    other = tmp_path / "service.log"
    planted.log(other)
    planted.received({"name": CLAIM, "detail": "no claim at all"})
    try:
        logging.getLogger("planted.app").warning("saved %s", CLAIM)
        other.write_text("no claim at all: alice@example.com\n")
        planted.printed("Written for bob@example.com.\n")
        planted.metrics(app.app.services.metrics.exposition() + 'seen_total{client="192.0.2.1"} 1\n')
    finally:
        planted.close()
    searched = search(tmp_path)
    assert (searched.logs, searched.expositions, searched.claims) == (3, 1, 1)
    found = {(each.kind, each.what) for each in searched.leaks}
    emails = {("email", "alice@example.com"), ("email", "bob@example.com")}
    assert found == {("claim", CLAIM), ("address", "192.0.2.1"), *emails}


def test_run_is_recorded(app, server, sign_in):
    """Applications and servers that tests start are recorded."""
    folder = Path(os.environ[RECORD])
    before = len(_lines(folder))
    app.patch_json(
        "/v1/profiles/alice@example.com",
        {"name": CLAIM},
        headers=sign_in("alice@example.com") | {"Content-Type": "application/merge-patch+json"},
    )
    assert json.dumps(CLAIM) in (folder / "received" / str(os.getpid())).read_text()
    urllib.request.urlopen(f"{server}/v1/").close()
    assert len(_lines(folder)) >= before + 3


def _lines(folder: Path) -> list[str]:
    return [
        line
        for path in (folder / LOGS).iterdir()
        if path.exists()
        for line in path.read_text(errors="replace").splitlines()
        if "request.summary" in line
    ]
