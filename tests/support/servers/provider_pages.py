"""The settings on the pages of providers, for the tests that run them."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

from support import ROOT

FOLDER = ROOT / "docs/how-to/providers"
_BLOCK = re.compile(r"^ *```json\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def objects(page: str) -> list[dict[str, Any]]:
    """Return the settings of a provider: the JSON objects of its page."""
    return [each for each in _documents(page) if isinstance(each, dict)]


def entries(page: str, domain: str) -> list[dict[str, Any]]:
    """Return the entries of `openid.issuers` on a page, for another domain than example.com."""
    lists = [each for each in _documents(page) if isinstance(each, list)]
    found = [entry for each in lists for entry in each]
    own = ("domains", "assume_verified")
    return [entry | {name: [domain] for name in own if name in entry} for entry in found]


def _documents(page: str) -> list[Any]:
    blocks = _BLOCK.findall((FOLDER / page).read_text())
    return [json.loads(textwrap.dedent(block)) for block in blocks]
