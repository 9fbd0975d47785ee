"""Search for personal data in logs, metrics and output."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import backends
import loadtest
import persona_profile
from support.clients.recording import LOGS, METRICS, RECEIVED

MIN_CHARACTERS = 6
"""The length of the shortest searched claim; shorter claims, such as "Work", are common words."""

_EMAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_GROUPS = r"(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})"
_ADDRESS = re.compile(
    rf"(?<![\d.])(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.])"
    rf"|(?<![\w:.])(?:{_GROUPS}::{_GROUPS}?|::{_GROUPS}|(?:[0-9a-f]{{1,4}}:){{7}}[0-9a-f]{{1,4}})(?![\w:])",
    re.IGNORECASE,
)
_SECRET = re.compile(r"(?<![\w-])(?=[\w-]*[a-z])(?=[\w-]*[A-Z])(?=[\w-]*\d)[A-Za-z0-9_-]{32,}(?![\w-])")
"""Base64url of 24 bytes and more: tokens, capabilities, parts of assertions, keys, nonces."""

_VARYING = re.compile(
    r'"(?:Timestamp|Pid|t|time|seconds|upstream_seconds|bytes_in|bytes_out)":"?[0-9.:T+-]*"?'
    r'|\b(?:rid=|"rid":")[0-9a-f]{32}|\bt=[0-9.]+'
)
_LISTENS = re.compile(
    r"listens on http://\S+(?: and http://\S+)*|^Try first: .*$|OpenID provider.* for development.*$"
    r"|provider for development.*$"
    r"|^(?:ok|warning|failed) +(?:service|front) \S+:(?= )|\bmetrics\.listen = \S+:(?= )"
    r"|\bIP: '[0-9.:]+'|\bhost: '127\.0\.0\.1'|'?\w+'?@'?127\.0\.0\.1'?(?::\d+)?"
    r"|\bmaster(?:_host=|:)? ?'?127\.0\.0\.1'?(?::\d+)?",
    re.MULTILINE,
)
"""Text about a server's own addresses, also of `doctor`; MariaDB's about its clients and replicas."""

_CRASH = re.compile(
    r"^To report this bug, see https://|^\S*(?:mariadbd|\.so[.\d]*)\(\S*\)\[0x[0-9a-f]+\]$"
)
"""Lines of MariaDB's report when it crashes, as on a full disk: a link, and names of functions."""

_SOURCES = "\n".join(
    path.read_text()
    for package in (persona_profile, backends, loadtest)
    for path in Path(str(package.__file__)).parent.rglob("*.py")
)
"""The sources' text: Hypothesis takes claims from its words, and services log these words."""


class Leak(NamedTuple):
    """Personal data in a line: its kind, the data, and the line."""

    kind: str
    what: str
    line: str


def leaks(lines: Collection[str], claims: Collection[str] = ()) -> Iterator[Leak]:
    """Find emails, addresses, secrets and some claims in lines."""
    for line in lines:
        content = _LISTENS.sub("", line)
        for kind, pattern in (("email", _EMAIL), ("address", _ADDRESS), ("secret", _SECRET)):
            for found in pattern.finditer(content):
                yield Leak(kind, found[0], line)
    joined = "\n".join(lines)
    for claim in claims:
        if len(claim) < MIN_CHARACTERS or claim in _SOURCES:
            continue
        for spelling in {claim, json.dumps(claim)[1:-1]}:
            if spelling in joined:
                yield Leak("claim", claim, next(line for line in lines if spelling in line))


class Searched(NamedTuple):
    """The extent of a search, and the leaks found."""

    logs: int
    lines: int
    expositions: int
    claims: int
    leaks: list[Leak]


def search(folder: Path) -> Searched:
    """Search the records of a run; lines that differ only in numbers are searched once."""
    logs = [path for path in (folder / LOGS).iterdir() if path.exists()]
    expositions = list((folder / METRICS).iterdir())
    lines: dict[str, str] = {}
    count = 0
    for path in logs:
        for line in path.read_text(errors="replace").splitlines():
            if not _CRASH.search(line):
                lines.setdefault(_VARYING.sub("", line), line)
            count += 1
    for path in expositions:
        for line in path.read_text().splitlines():
            lines.setdefault(line.rpartition(" ")[0], line)
            count += 1
    claims = {
        json.loads(line)
        for path in (folder / RECEIVED).iterdir()
        for line in path.read_text().split("\n")
        if line
    }
    found = list(leaks(lines.values(), claims))
    return Searched(len(logs), count, len(expositions), len(claims), found)
