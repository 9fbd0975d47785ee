"""The alert rules, by Prometheus' own tool: each fires when it should, and is quiet otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from support import ROOT

RULES = ROOT / "deploy" / "alerts.yml"

# For each alert: series in which it fires at a minute, and series in which it is quiet then.
CASES: dict[str, tuple[int, dict[str, str], dict[str, str]]] = {
    "PersonaDown": (
        4,
        {
            'up{job="persona-profile"}': "0x5",
        },
        {
            'up{job="persona-profile"}': "1x5",
        },
    ),
    "PersonaNotScraped": (
        8,
        {
            'up{job="other"}': "1x10",
        },
        {
            'up{job="persona-profile"}': "0x10",
        },
    ),
    "PersonaInternalErrors": (
        20,
        {
            'persona_http_problems_total{code="internal_error"}': "_x18 1x9",
        },
        {
            'persona_http_problems_total{code="internal_error"}': "5x25",
            'persona_http_problems_total{code="overloaded"}': "0+9x25",
        },
    ),
    "PersonaShedding": (
        25,
        {
            'persona_http_requests_total{status="503"}': "0+20x30",
            'persona_http_requests_total{status="200"}': "0+900x30",
        },
        {
            'persona_http_requests_total{status="503"}': "0+5x30",
            'persona_http_requests_total{status="200"}': "0+900x30",
        },
    ),
    "PersonaSlowSignIn": (
        25,
        {
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="0.5"}': "0+90x30",
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="1"}': "0+100x30",
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="+Inf"}': "0+100x30",
        },
        {
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="0.5"}': "0+100x30",
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="1"}': "0+100x30",
            'persona_http_request_duration_seconds_bucket{route="/v1/sessions",le="+Inf"}': "0+100x30",
        },
    ),
    "PersonaThreadsBusy": (
        8,
        {
            "persona_http_queued_requests": "3x9",
        },
        {
            "persona_http_queued_requests": "3 0 3 0 3 0 3 0",
        },
    ),
    "PersonaLookupsRejected": (
        25,
        {
            'persona_waiting_rejections_total{kind="lookup",reason="budget"}': "0+10x30",
        },
        {
            'persona_waiting_rejections_total{kind="lookup",reason="budget"}': "0+5x30",
        },
    ),
    "PersonaProviderLookupsFail": (
        25,
        {
            'persona_provider_lookups_total{kind="id_token",outcome="issuer_unreachable"}': "0+1x20",
        },
        {
            'persona_provider_lookups_total{kind="id_token",outcome="found"}': "0+9x20",
            'persona_provider_lookups_total{kind="id_token",outcome="issuer_unreachable"}': "1x20",
        },
    ),
    "PersonaStorageUnreachable": (
        5,
        {
            "persona_storage_unreachable": "1x5",
        },
        {
            "persona_storage_unreachable": "0 1 0 0 1 0",
        },
    ),
    "PersonaStorageUnwritable": (
        1,
        {
            "persona_storage_unwritable": "0 2",
        },
        {
            "persona_storage_unwritable": "0x2",
        },
    ),
    "PersonaLedgerUnwritable": (
        8,
        {
            "persona_ledger_unwritable": "1x9",
        },
        {
            "persona_ledger_unwritable": "1 1 1 0 1 1 1 0 0",
        },
    ),
    "PersonaReplicasUnreachable": (
        8,
        {
            "persona_replicas_unreachable": "2x9",
        },
        {
            "persona_replicas_unreachable": "0x9",
        },
    ),
    "PersonaReplicaLag": (
        35,
        {
            'persona_replica_reads_total{outcome="missing"}': "0+20x40",
            'persona_replica_reads_total{outcome="served"}': "0+100x40",
        },
        {
            'persona_replica_reads_total{outcome="missing"}': "0+5x40",
            'persona_replica_reads_total{outcome="served"}': "0+100x40",
        },
    ),
    "PersonaReplicaDamaged": (
        20,
        {
            'persona_replica_reads_total{outcome="damaged"}': "_x18 1x9",
        },
        {
            'persona_replica_reads_total{outcome="damaged"}': "3x25",
        },
    ),
    "PersonaConnections": (
        8,
        {
            "persona_storage_connections_in_use": "6x9",
            "persona_storage_connections_max": "6x9",
        },
        {
            "persona_storage_connections_in_use": "0x9",
            "persona_storage_connections_max": "0x9",
        },
    ),
    "PersonaRedisGone": (
        8,
        {
            "persona_ratelimit_uncoordinated_processes": "2x9",
        },
        {
            "persona_ratelimit_uncoordinated_processes": "0x9",
        },
    ),
    "PersonaReloadRejected": (
        20,
        {
            'persona_reloads_total{outcome="rejected"}': "_x18 1x9",
        },
        {
            'persona_reloads_total{outcome="accepted"}': "0+1x25",
        },
    ),
    "PersonaProcessesDie": (
        8,
        {
            "persona_process_deaths_total": "0 1 2 3 4 4x9",
        },
        {
            "persona_process_deaths_total": "3x14",
        },
    ),
    "PersonaNoProcess": (
        4,
        {
            "persona_processes": "0x5",
        },
        {
            "persona_processes": "1x5",
        },
    ),
    "PersonaReplays": (
        8,
        {
            'persona_proofs_total{outcome="proof_replayed"}': "0+120x9",
        },
        {
            'persona_proofs_total{outcome="proof_replayed"}': "0+20x9",
        },
    ),
}


@pytest.fixture(scope="module")
def promtool() -> str:
    """The checker of Prometheus."""
    found = shutil.which("promtool")
    if found is None:
        pytest.fail(
            "These tests need promtool. Install it: "
            "sudo apt-get install --no-install-recommends prometheus",
            pytrace=False,
        )
    return found


def test_rules(promtool):
    """Prometheus reads the rules, and each has a severity and says what to do."""
    done = subprocess.run(
        [promtool, "check", "rules", RULES], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{len(CASES)} rules found" in done.stdout


def test_each_rule(promtool, tmp_path):
    """Each rule fires on its symptom, and not without it."""
    path = tmp_path / "tests.yml"
    tests = [
        case(alert, at, series, count)
        for alert, (at, fires, quiet) in CASES.items()
        for series, count in ((fires, 1), (quiet, 0))
    ]
    path.write_text(json.dumps({"rule_files": [str(RULES)], "tests": tests}))
    done = subprocess.run(
        [promtool, "test", "rules", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def case(alert: str, at: int, series: dict[str, str], count: int) -> dict[str, object]:
    """Return a test of promtool: the number of firing alerts of a name at a minute."""
    firing = f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)'
    return {
        "name": f"{alert}: {'fires' if count else 'is quiet'}",
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": firing, "eval_time": f"{at}m", "exp_samples": [{"labels": "{}", "value": count}]}
        ],
    }


def test_page():
    """The page explains exactly the rules, with their severities."""
    page = (ROOT / "docs" / "how-to" / "monitoring.md").read_text().partition("## Alerts")[2]
    listed = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page, re.MULTILINE))
    rules = RULES.read_text()
    severities = re.findall(r"alert: (\w+)\n.*?severity: (\w+)", rules, re.DOTALL)
    assert listed == dict(severities)
    assert set(CASES) == set(listed)
