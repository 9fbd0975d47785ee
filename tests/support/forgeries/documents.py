"""JSON as strangers may write it."""

from __future__ import annotations

import json
from typing import Any


def json_encode(value: Any) -> bytes:
    """Return compact JSON with integers of any length, which the service never writes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
