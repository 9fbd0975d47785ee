"""What the server counted of itself, for a report. Standard library alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Final

from loadtest.gate.report.tables import table
from persona_profile.capacity.units import short

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?", re.DOTALL)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_COUNTED: Final = (
    ("persona_http_requests_total", "status", "Requests answered", "status"),
    ("persona_http_problems_total", "code", "Problems answered", "code"),
    ("persona_storage_retries_total", "reason", "Storage: attempts repeated", "reason"),
    ("persona_picture_uploads_total", "outcome", "Pictures sent", "outcome"),
    ("persona_proofs_total", "outcome", "Proofs looked at", "outcome"),
)
_MOST: Final = (
    ("persona_picture_uploads_queued", "Uploads that waited for a worker, at most"),
    ("persona_picture_uploads_in_progress", "Uploads that had a worker, at most"),
    ("persona_storage_connections_in_use", "Connections of the storage in use, at most"),
    ("persona_storage_connections_max", "Connections of the storage that there can be"),
)


def server_metrics(metrics: Mapping[str, float]) -> str:
    """Return tables of the server's figures, in words, and all of them folded away."""
    if not metrics:
        return '<p class="note">The server told none.</p>'
    families: dict[str, list[tuple[dict[str, str], float]]] = {}
    for sample, value in metrics.items():
        if match := _SAMPLE.fullmatch(sample):
            labels = dict(_LABEL.findall(match[2] or ""))
            families.setdefault(match[1], []).append((labels, value))
    rows = []
    for family, label, meaning, of in _COUNTED:
        counts: Counter[str] = Counter()
        for labels, value in families.get(family, []):
            counts[labels.get(label, "")] += round(value)
        told = ", ".join(
            f"{escape(name)}: {count:,}" for name, count in sorted(counts.items()) if count
        )
        if family in families:
            rows.append([f"{meaning}, by {of}", told or "none"])
    for family, meaning in _MOST:
        if family in families:
            rows.append([meaning, short(max(value for _, value in families[family]))])
    made = table("While steps were measured", ["Figure", "Value"], rows, texts={1}) if rows else ""
    everything = [[escape(sample), f"{value:,.6g}"] for sample, value in metrics.items()]
    folded = table("", ["Name", "Growth of a counter; most of another"], everything)
    return f"{made}<details><summary>All of them, as the server names them</summary>{folded}</details>"
