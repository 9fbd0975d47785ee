"""The server's metrics in a report."""

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
_MAXIMA: Final = (
    ("persona_picture_uploads_queued", "Uploads that waited for a worker, at most"),
    ("persona_picture_uploads_in_progress", "Uploads that had a worker, at most"),
    ("persona_storage_connections_in_use", "Connections of the storage in use, at most"),
    ("persona_storage_connections_max", "Connections of the storage that there can be"),
)


def server_metrics(metrics: Mapping[str, float]) -> str:
    """Return a table of important metrics in words, and a folded table of all."""
    if not metrics:
        return '<p class="note">The server has reported none.</p>'
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
        counted = ", ".join(
            f"{escape(name)}: {count:,}" for name, count in sorted(counts.items()) if count
        )
        if family in families:
            rows.append({"Metric": f"{meaning}, by {of}", "Value": counted or "none"})
    for family, meaning in _MAXIMA:
        if family in families:
            largest = max(value for _, value in families[family])
            rows.append({"Metric": meaning, "Value": short(largest)})
    made = table("While steps were measured", rows, ["Value"]) if rows else ""
    growth = "Growth of a counter, maximum of a gauge"
    folded = table(
        "", [{"Name": escape(name), growth: f"{value:,.6g}"} for name, value in metrics.items()]
    )
    return f"{made}<details><summary>All metrics by their names</summary>{folded}</details>"
