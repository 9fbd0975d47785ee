"""The page about metrics is held to the registry; dashboard and alerts are held to the page."""

import json
import re

from support import ROOT
from support.applications import application
from support.contract import DOCUMENT, STATUS_OF
from support.metrics import Exposition
from webtest import TestApp

from persona_profile.runtime.supervisor import own_figures


def families(text: str) -> set[str]:
    """Return the metrics that a text names, without what is told of each apart."""
    names = re.findall(r"\b(?:persona|process)_[a-z_]+", text)
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def test_every_metric_is_explained(tmp_path):
    """What is counted is what the guide lists; the dashboard and the alerts name nothing else."""
    app = application(tmp_path)
    text = app.services.metrics.exposition() + own_figures(0, 0)
    app.close()
    counted = families("\n".join(Exposition(text).families))
    ours = {name for name in counted if name.startswith("persona_")}
    guide = (ROOT / "docs/reference/metrics.md").read_text()
    listed = families("".join(re.findall(r"^\| `persona_[a-z_]+`", guide, re.MULTILINE)))
    assert listed == ours
    assert families(guide) - {"process"} <= counted | {"process"}
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    targets = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    shown = families(" ".join(targets))
    assert shown <= counted
    assert ours <= shown | {"persona_http_request_duration_seconds"}


def explained() -> dict[str, tuple[set[str], str]]:
    """Return of each metric that the guide lists its labels, and what is told of it."""
    rows = re.findall(
        r"^\| `(persona_[a-z_]+)` \| \w+ \| (.*?) ?\| (.*) \|$",
        (ROOT / "docs/reference/metrics.md").read_text(),
        re.MULTILINE,
    )
    return {
        families(name).pop(): (set(re.findall(r"\w+", labels)), told) for name, labels, told in rows
    }


def test_labels_are_explained(tmp_path):
    """What is counted has the labels that the guide lists."""
    app = application(tmp_path)
    client = TestApp(app)
    client.get("/v1/")
    client.post_json("/v1/sessions", {"proofs": [{"assertion": "x"}]}, status=401)
    found = Exposition(app.services.metrics.exposition())
    app.close()
    seen = {
        (name, *sorted(sample.labels.keys() - {"le"}))
        for name, family in found.families.items()
        for sample in family.samples
        if name.startswith("persona_")
    }
    listed = {name: labels for name, (labels, _) in explained().items()}
    assert all(listed[families(name).pop()] == set(labels) for name, *labels in seen)
    assert len([each for each in seen if len(each) > 1]) >= 8


def test_queries_name_what_there_is():
    """Labels, and values of labels, in the dashboard and the alerts are those of their metrics."""
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    alerts = (ROOT / "docs/how-to/monitoring.md").read_text().partition("## Alerts")[2]
    queries += [row.split("`")[1] for row in alerts.splitlines() if "`" in row]
    assert len(queries) > 40
    metrics = explained()
    routes, codes = set(DOCUMENT["paths"]), set(STATUS_OF)
    statuses = {str(status) for status in STATUS_OF.values()}
    for query in queries:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", query))))
        for name, matchers in re.findall(r"\b(persona_[a-z_]+)(?:\{(.*?)\})?", query):
            labels, told = metrics[families(name).pop()]
            assert grouped <= labels | ({"le"} if name.endswith("_bucket") else set()), query
            for label, values in re.findall(r'(\w+)=~?"(.*?)"', matchers):
                known = {"route": routes, "code": codes, "status": statuses}.get(
                    label, set(re.findall(r"`(\w+)`", told))
                )
                assert label in labels, query
                assert set(values.split("|")) <= known, query
