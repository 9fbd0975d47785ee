"""Dashboard and alert rules in a real Prometheus that scrapes a real service."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from support import ROOT
from support.pictures.pictures import encode, quadrants
from support.servers.ports import free_port
from support.servers.services import Client, Service

DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EMPTY = (
    "persona_http_problems_total",  # nothing was rejected
    "persona_waiting_rejections_total",
    "persona_storage_retries_total",
    "persona_reloads_total",
    "persona_provider_lookups_total",
    "persona_processes",  # of a supervisor
    "persona_process_deaths_total",
)


class Prometheus:
    """The HTTP API of a Prometheus on loopback."""

    def __init__(self, port: int) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1"

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer; a query with a mistake raises `HTTPError`."""
        url = f"{self._api}/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as response:
            return json.load(response)["data"]

    def wait_for(self, path: str, is_there: Any, **parameters: str) -> Any:
        """Return the first data that are there."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                if is_there(data := self.ask(path, **parameters)):
                    return data
            except OSError:  # not up yet
                pass
            time.sleep(0.2)
        raise TimeoutError(path)


@pytest.fixture(scope="module")
def scraped(tmp_path_factory) -> Iterator[tuple[Prometheus, str]]:
    """A Prometheus with the alert rules that has scraped a used service, and the service's instance."""
    command = shutil.which("prometheus")
    if command is None:
        pytest.fail(
            "These tests need Prometheus: sudo apt-get install --no-install-recommends prometheus",
            pytrace=False,
        )
    folder = tmp_path_factory.mktemp("prometheus")
    port, instance = free_port(), f"127.0.0.1:{free_port()}"
    more = f"pictures.formats = jpeg\nmetrics.listen = {instance}"
    service = Service(folder / "service", more=more)
    service.start()
    configuration = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "deploy" / "alerts.yml")],
        "scrape_configs": [
            {"job_name": "persona-profile", "static_configs": [{"targets": [instance]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                command,
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        subject = Prometheus(port)
        use(service)
        uploads = "rate(persona_picture_uploads_total[1m])"  # two scrapes after the last request
        subject.wait_for("query", lambda data: data["result"], query=uploads)
        yield subject, instance
    finally:
        process.terminate()
        process.wait(30)
        service.close()


def use(service: Service) -> None:
    """Sign in, and upload a picture."""
    client = Client(service, "alice@example.com")
    client.sign_in()
    assert client.upload(encode(quadrants(300, 200))).status < 300
    assert client.call("GET", "/v1/profiles").status == 200


def filled(query: str, instance: str) -> str:
    """Return a query of the dashboard as Grafana sends it."""
    return query.replace("$__rate_interval", "1m").replace("$instance", instance)


@pytest.mark.parametrize("query", dict.fromkeys(QUERIES))
def test_query(scraped, query):
    """Each query of the dashboard is valid, and has data of its machine alone."""
    prometheus, instance = scraped
    found = prometheus.ask("query", query=filled(query, instance))["result"]
    assert found or any(name in query for name in EMPTY), query
    assert prometheus.ask("query", query=filled(query, "192.0.2.1:9464"))["result"] == []


def test_machines(scraped):
    """The variable of the dashboard lists the machines that are scraped."""
    prometheus, instance = scraped
    [variable] = [each for each in DASHBOARD["templating"]["list"] if each["name"] == "instance"]
    assert variable["query"] == "label_values(persona_build_info, instance)"
    found = prometheus.ask("label/instance/values", **{"match[]": "persona_build_info"})
    assert found == [instance]


def test_mistakes_are_found(scraped):
    """A query with a mistake is an error of Prometheus."""
    prometheus, _ = scraped
    with pytest.raises(urllib.error.HTTPError, match="400"):
        prometheus.ask("query", query="sum by (route) (rate(persona_http_requests_total))")


def test_rules(scraped):
    """Prometheus evaluates each alert rule without an error, and none fires for a healthy service."""
    prometheus, _ = scraped

    def evaluated(data: Any) -> list[Any]:
        rules = [rule for group in data["groups"] for rule in group["rules"]]
        return [] if any(each["health"] == "unknown" for each in rules) else rules

    rules = evaluated(prometheus.wait_for("rules", evaluated))
    assert len(rules) == (ROOT / "deploy" / "alerts.yml").read_text().count("alert:")
    assert [each["name"] for each in rules if each["health"] != "ok" or each.get("lastError")] == []
    assert [each["name"] for each in rules if each["state"] == "firing"] == []
