"""The page about metrics agrees with the registry; dashboard and alerts agree with the page."""

import json
import re

from support import ROOT
from support.clients.contract import DOCUMENT, STATUS_OF
from support.clients.metrics import Exposition
from support.servers.applications import application
from webtest import TestApp

from persona_profile.runtime.supervisor import own_metrics


def families(text: str) -> set[str]:
    """Return the names of metrics in a text, without the suffixes of series."""
    names = re.findall(r"\b(?:persona|process)_[a-z_]+", text)
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


def test_every_metric_is_explained(tmp_path):
    """The page lists exactly the metrics; dashboard and alerts use no others."""
    app = application(tmp_path)
    text = app.services.metrics.exposition() + own_metrics(0, 0)
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
    """Return the labels and the explanation of each listed metric."""
    rows = re.findall(
        r"^\| `(persona_[a-z_]+)` \| \w+ \| (.*?) ?\| (.*) \|$",
        (ROOT / "docs/reference/metrics.md").read_text(),
        re.MULTILINE,
    )
    return {
        families(name).pop(): (set(re.findall(r"\w+", labels)), explanation)
        for name, labels, explanation in rows
    }


def test_labels_are_explained(tmp_path):
    """Metrics have the labels that the page lists."""
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
    """Labels and label values in dashboard and alerts exist in their metrics."""
    dashboard = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += re.findall(r"expr: (.*)", (ROOT / "deploy" / "alerts.yml").read_text())
    assert len(queries) > 40
    metrics = explained()
    routes, codes = set(DOCUMENT["paths"]), set(STATUS_OF)
    statuses = {str(status) for status in STATUS_OF.values()}
    for query in queries:
        grouped = set(re.findall(r"\w+", " ".join(re.findall(r"by \((.*?)\)", query))))
        for name, matchers in re.findall(r"\b(persona_[a-z_]+)(?:\{(.*?)\})?", query):
            labels, explanation = metrics[families(name).pop()]
            assert grouped <= labels | ({"le"} if name.endswith("_bucket") else set()), query
            for label, values in re.findall(r'(\w+)=~?"(.*?)"', matchers):
                known = {"route": routes, "code": codes, "status": statuses}.get(
                    label, set(re.findall(r"`(\w+)`", explanation))
                )
                assert label in labels, query
                assert set(values.split("|")) <= known, query
