"""Starting, watching, replacing and stopping the service, as operators do."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.clients.identities import dsa_key, support_document
from support.pictures.pictures import encode, quadrants
from support.pictures.workers import fork_server_pids, is_alive
from support.servers.applications import wait_for
from support.servers.services import Client, Service, SlowUpload

TESTS = ROOT / "tests"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that a test starts."""
    with contextlib.closing(Service(tmp_path / "service")) as made:
        yield made


def get(service: Service, path: str = "/v1/") -> int:
    """Ask over a connection of its own; return the status."""
    client = Client(service, "")
    try:
        return client.call("GET", path).status
    finally:
        client.close()


class TestStopping:
    def test_what_is_in_flight_is_finished(self, tmp_path):
        """After SIGTERM heartbeats fail, an 8 MB upload is finished, and the status is 0."""
        service = Service(
            tmp_path / "service", more="shutdown.drain_seconds = 4\npictures.formats = jpeg"
        )
        body = encode(quadrants(), quality=95) + bytes(8_000_000)
        try:
            service.start()
            client, idle = (Client(service, "alice@example.com") for _ in range(2))
            client.sign_in()
            assert idle.call("GET", "/__heartbeat__").status == 200
            workers = fork_server_pids(service.pid)
            upload = SlowUpload(service, client, body)
            service.signal(signal.SIGTERM)
            wait_for(lambda: get(service, "/__lbheartbeat__") == 503, 4)
            answer = idle.call("GET", "/__heartbeat__")
            assert (answer.status, answer.headers["Connection"]) == (503, "close")
            wait_for(lambda: _refuses(service), 30)
            answered = upload.finish()
            assert (answered.status, answered.headers["Connection"]) == (200, "close")
            assert service.wait(30) == 0
        finally:
            service.close()
        assert workers
        assert not any(is_alive(pid) for pid in workers)

    def test_a_limit(self, tmp_path):
        """What is in flight for longer than its limit is cut, and the status is 0 all the same."""
        with contextlib.closing(
            Service(tmp_path / "service", more="shutdown.grace_seconds = 1")
        ) as service:
            service.start()
            client = Client(service, "alice@example.com")
            client.sign_in()
            SlowUpload(service, client, bytes(1000))
            service.signal(signal.SIGTERM)
            assert service.wait(20) == 0
        assert "connections in flight" in service.log

    @pytest.mark.parametrize("arguments", [(), ("--processes", "2")], ids=["one", "several"])
    def test_client_of_the_metrics_that_drips(self, service, arguments):
        """A client that sends to the metrics for ever stops neither scraping nor the end."""
        service.start(*arguments)
        address = ("127.0.0.1", service.metrics_port)
        with socket.create_connection(address, 30) as dripping:
            dripping.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            wait_for(lambda: service.metrics().value("process_start_time_seconds"))
            service.signal(signal.SIGTERM)
            with contextlib.suppress(ConnectionError):
                wait_for(lambda: dripping.send(b"x") and not is_alive(service.pid), 30)
        assert service.wait(30) == 0

    def test_once_more(self, service):
        """A second SIGTERM ends the process at once, whatever is in flight."""
        service.start()
        client = Client(service, "alice@example.com")
        client.sign_in()
        SlowUpload(service, client, bytes(1000))
        service.signal(signal.SIGTERM)
        wait_for(lambda: _refuses(service), 30)
        service.signal(signal.SIGTERM)
        assert service.wait(15) == -signal.SIGTERM


def _refuses(service: Service) -> bool:
    try:
        socket.create_connection(("127.0.0.1", service.port), timeout=5).close()
    except OSError:
        return True
    return False


def test_hangup_takes_issuers(tmp_path):
    """SIGHUP reloads the files of issuers; an invalid file changes nothing."""
    issuers, providers = tmp_path / "issuers.json", tmp_path / "providers.json"
    issuers.write_text("{}")
    providers.write_text("[]")
    more = f"browserid.pinned_issuers = {issuers}\nopenid.issuers = {providers}\n"
    service = Service(tmp_path / "service", more=more)

    def reloads(outcome: str, file: str = "pinned_issuers") -> float:
        return service.metrics().value("persona_reloads_total", file=file, outcome=outcome)

    try:
        service.start()
        client = Client(service, "alice@example.com")
        client.sign_in()
        issuers.write_text("nonsense")
        providers.write_text("{}")
        service.signal(signal.SIGHUP)
        wait_for(lambda: reloads("rejected") == 1, 30)
        wait_for(lambda: reloads("rejected", "openid_issuers") == 1, 30)
        client.sign_in()
        for _ in range(2000):  # while one is being handled the next one comes
            service.signal(signal.SIGHUP)
        providers.write_text("[]")
        issuers.write_text(json.dumps({"example.com": support_document(dsa_key("other"))}))
        service.signal(signal.SIGHUP)
        wait_for(lambda: reloads("accepted") >= 1, 30)
        wait_for(lambda: reloads("accepted", "openid_issuers") >= 1, 30)
        with pytest.raises(AssertionError, match=r"issuer_not_authoritative|signature_invalid"):
            client.sign_in()
    finally:
        service.close()


class TestSeveralProcesses:
    def test_figures_add_up(self, service):
        """The metrics of all processes are one sum, in which a killed process still counts."""
        service.start("--processes", "2")
        wait_for(lambda: service.metrics().value("persona_processes") == 2, 30)
        for _ in range(30):
            assert get(service) == 200
        requests = {"name": "persona_http_requests_total", "route": "/v1/"}
        assert service.metrics().value(**requests) == 30
        before = service.processes()
        frozen = min(before)
        os.kill(frozen, signal.SIGSTOP)
        assert service.metrics().value(**requests) == 30  # its last ones are taken
        os.kill(frozen, signal.SIGCONT)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: pid not in service.processes(), 30)
            wait_for(lambda: len(service.processes()) == 2, 30)
        wait_for(lambda: service.metrics().value("persona_processes") == 2, 30)
        assert not before & service.processes()
        assert get(service) == 200
        found = service.metrics()
        assert found.value(**requests) == 31
        assert found.value("persona_process_deaths_total") == 2
        children = service.processes()
        service.signal(signal.SIGTERM)
        assert service.wait(45) == 0
        assert not any(is_alive(pid) for pid in children)

    def test_replacing_all(self, service):
        """While all processes are replaced, no request fails; nor does an upload that is under way."""
        service.start("--processes", "2")
        wait_for(lambda: service.metrics().value("persona_processes") == 2, 30)
        before = service.processes()
        client = Client(service, "alice@example.com")
        client.sign_in()
        upload = SlowUpload(service, client, encode(quadrants(), quality=95) + bytes(8_000_000))
        load = SteadyLoad(service)
        service.signal(signal.SIGUSR2)
        wait_for(lambda: service.processes() - before, 40)
        assert upload.finish().status == 200
        wait_for(lambda: not service.processes() & before, 40)
        load.stop()
        assert not load.failures
        assert load.answered > 50
        service.signal(signal.SIGTERM)
        assert service.wait(45) == 0

    @pytest.mark.parametrize("processes", [(), ("--processes", "2")])
    def test_metrics_without_a_port(self, tmp_path, processes):
        """A service whose metrics can't listen names their setting, and accepts no connection."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            place = f"metrics.listen = 127.0.0.1:{taken.getsockname()[1]}"
            with contextlib.closing(Service(tmp_path / "service", more=place)) as service:
                with pytest.raises(RuntimeError, match=f"{place}: Address already in use\n"):
                    service.start(*processes)
                assert service.wait() == 1

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_end_before_all_is_well(self, tmp_path, monkeypatch, number):
        """Processes that are not well yet outlive other signals, and end with their supervisor."""
        monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{os.environ.get('PYTHONPATH', '')}")
        more = "shutdown.grace_seconds = 600\n"  # nobody is killed
        with contextlib.closing(
            Service(tmp_path / "service", "support.servers.unhealthy:unhealthy", "", more=more)
        ) as service:
            service.start("--processes", "1")
            wait_for(lambda: get(service, "/__heartbeat__") == 503, 30)
            [child] = service.processes()
            service.signal(number)
            service.wait(30)
            wait_for(lambda: not is_alive(int(child)), 30)
            assert _refuses(service)

    def test_nothing_to_start_with(self, service):
        """A process that can't be started is started later; the supervisor's signal ends no other."""
        service.start("--processes", "1")
        wait_for(lambda: service.metrics().value("persona_processes") == 1, 30)
        [child] = service.processes()
        os.kill(child, signal.SIGUSR2)  # as `systemctl kill` does to all processes of a service
        assert get(service) == 200
        limits = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (4, limits[1]))
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: "no process could be started: Too many open files" in service.log, 30)
        resource.prlimit(service.pid, resource.RLIMIT_NOFILE, limits)
        assert get(service) == 200
        assert service.metrics().value("persona_process_deaths_total") == 1

    def test_giving_up(self, tmp_path):
        """If no process can begin its work, that is the end, with the status of its reason."""
        with contextlib.closing(
            Service(tmp_path / "service", "sqlite", f"sqlite:///{tmp_path}/absent/items")
        ) as service:
            result = service.run("serve", "--processes", "2")
        assert result.returncode == 2
        assert "names a file in a folder that is not there" in result.stderr
        assert "Traceback" not in result.stderr


class SteadyLoad:
    """Clients that ask all the time over connections they keep, as a browser or a proxy does."""

    def __init__(self, service: Service, clients: int = 3) -> None:
        self.answered = 0
        self.failures: list[object] = []
        self._service = service
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop; all failures are known afterwards."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self) -> None:
        client = Client(self._service, "")
        while not self._stopped.wait(0.01):
            try:
                status = _once_more_if_closed(client)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
            else:
                self.answered += 1
                if status != 200:
                    self.failures.append(status)
        client.close()


def _once_more_if_closed(client: Client) -> int:
    """Ask; on a new connection, if the one that was kept turns out to be closed (RFC 9110, 9.2.2)."""
    try:
        return client.call("GET", "/v1/").status
    except (ConnectionError, http.client.RemoteDisconnected):
        return client.call("GET", "/v1/").status


class TestLogs:
    def test_mozlog(self, tmp_path):
        """Each line is a JSON object with the fields of mozlog, and holds no personal data."""
        service = Service(tmp_path / "service", more="logging.format = mozlog")
        secret = "zanzibar"
        try:
            service.start()
            client = Client(service, f"{secret}@example.com")
            client.sign_in()
            client.upload(encode(quadrants()))
            urls = client.call("GET", client.profile).json["picture"]["urls"]
            capability = urls["64"].rpartition("/")[2]
            client.call("GET", f"/v1/pictures/{capability}?{secret}")
            client.upload(b"x")
            client.call("BREW", f"/{secret}")
            token = client.token
            answer = client.call("GET", f"/v1/{secret}")
        finally:
            service.close()
        lines = [json.loads(line) for line in service.log.splitlines() if not _is_announcement(line)]
        wanted = {"Timestamp", "Type", "Logger", "Hostname", "EnvVersion", "Severity", "Pid", "Fields"}
        assert all(line.keys() == wanted for line in lines)
        summaries = [line["Fields"] for line in lines if line["Type"] == "request.summary"]
        assert len(summaries) == 7
        assert summaries[0].keys() == {"method", "route", "code", "t", "rid"}
        assert summaries[0]["route"] == "/v1/sessions"
        assert summaries[-1]["rid"] == answer.json["request_id"] == answer.headers["X-Request-Id"]
        for leak in (secret, capability, token, "127.0.0.1", "@"):
            assert leak not in "".join(json.dumps(line) for line in lines)

    def test_text(self, service):
        """In development lines are for people, with the request's number."""
        service.start()
        assert get(service) == 200
        wait_for(lambda: "request.summary" in service.log, 30)
        line = next(line for line in service.log.splitlines() if "request.summary" in line)
        assert re.fullmatch(
            r"INFO requests: request.summary method=GET route=/v1/ code=200 t=[0-9.]+ rid=[0-9a-f]{32}",
            line,
        )


def _is_announcement(line: str) -> bool:
    return line.startswith(("Persona Profile Server", "Try first:"))
