import socket
import threading
from contextlib import closing
from datetime import UTC, datetime

import pytest
from support.clients.metrics import Exposition
from support.pictures.pictures import encode, quadrants
from support.servers.applications import application, serving, wait_for
from support.servers.services import Client, Service
from webtest import TestApp

from persona_profile.keys.keyring import KeyKind, Keyring
from persona_profile.keys.wrapping import KeyWrapper
from persona_profile.runtime.exposition import Sum
from persona_profile.runtime.metrics import Metrics
from persona_profile.runtime.waiting import MIN_THREADS


def metrics(app: TestApp) -> Exposition:
    """Return the metrics of an application."""
    return Exposition(app.app.services.metrics.exposition())


class TestCounting:
    def test_requests(self, app):
        """Requests are counted by route, method and status, with their time."""
        app.get("/v1/")
        app.get("/v1/profiles/alice@example.com", status=401)
        found = metrics(app)
        route = "/v1/profiles/{email}"
        requests = "persona_http_requests_total"
        assert found.value(requests, route="/v1/", method="GET", status="200") == 1
        assert found.value(requests, route=route, method="GET", status="401") == 1
        assert found.value("persona_http_request_duration_seconds_count", route=route) == 1
        assert found.value("persona_http_problems_total", code="session_missing") == 1

    def test_sessions(self, app, sign_in, assertion):
        """Proofs are counted by outcome and algorithm; sessions by their number of emails."""
        sign_in("alice@example.com", "bob@example.com")
        sign_in("carol@example.com")
        replayed = {"proofs": [{"assertion": assertion("dave@example.com")}]}
        app.post_json("/v1/sessions", replayed, status=201)
        app.post_json("/v1/sessions", replayed, status=401)
        app.post_json("/v1/sessions", {"proofs": [{"assertion": "x"}]}, status=401)
        found = metrics(app)
        assert found.value("persona_proofs_total", outcome="proved", algorithm="RS256") == 5
        assert found.value("persona_proofs_total", outcome="proof_replayed") == 1
        assert found.value("persona_proofs_total", outcome="malformed_bundle") == 1
        emails = "persona_session_emails"
        assert (found.value(f"{emails}_sum"), found.value(f"{emails}_count")) == (4, 3)
        assert found.value(f"{emails}_bucket", le="1.0") == 2
        assert found.value(f"{emails}_bucket", le="2.0") == 3

    def test_pictures(self, app, sign_in):
        """Uploads are counted by format and outcome, with their pixels and processor time."""
        headers = sign_in("alice@example.com") | {"Content-Type": "image/png"}
        path = "/v1/profiles/alice@example.com/picture"
        png = encode(quadrants(300, 200), "PNG")
        app.put(path, png, headers=headers)
        app.post(f"{path}/preview", png, headers=headers)
        app.put(path, png[:200], headers=headers, status=422)
        app.put(path, b"no picture", headers=headers, status=415)
        found = metrics(app)
        uploads = "persona_picture_uploads_total"
        assert found.value(uploads, format="png", outcome="accepted") == 1
        assert found.value(uploads, format="png", outcome="previewed") == 1
        assert found.value(uploads, format="png", outcome="picture_broken") == 1
        assert found.value(uploads, format="unknown", outcome="unsupported_media_type") == 1
        assert found.value("persona_picture_pixels_total", format="png") == 3 * 300 * 200
        assert found.value("persona_picture_cpu_seconds_total") > 0
        assert found.value("persona_picture_workers") == 1
        assert found.value("persona_picture_uploads_queued") == 0

    def test_storage(self, app, sign_in):
        """Calls of the storage are counted by operation and outcome."""
        app.get("/v1/profiles", headers=sign_in("alice@example.com"))
        found = metrics(app)
        calls = "persona_storage_operation_duration_seconds_count"
        assert found.value(calls, operation="apply", outcome="ok") == 1
        assert found.value(calls, operation="get_many", outcome="ok") == 3

    def test_pool(self, tmp_path):
        """The storage's connections in use are measured."""
        app = application(tmp_path, backend="sqlite", backend__url=f"sqlite:///{tmp_path}/items")
        try:
            app.backend.ping()
            found = Exposition(app.services.metrics.exposition())
            assert found.value("persona_storage_connections_max") == 16
            assert found.value("persona_storage_connections_in_use") == 0
        finally:
            app.close()

    def test_stale_keys(self):
        """Every unwrapping of a data key under an older key is counted."""
        keyring = Keyring.generate()
        keys = KeyWrapper(keyring)
        wrapped = keys.wrap(b"p", bytes(32))
        keys.unwrap(b"p", wrapped)
        assert keys.stale_reads.counts() == {(): 0}
        now = datetime.now(UTC)
        keys.use(keyring.adding(KeyKind.ENCRYPTION, now).promoting(KeyKind.ENCRYPTION, now))
        keys.unwrap(b"p", wrapped)
        assert keys.stale_reads.counts() == {(): 1}


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
def test_hostile_requests(app, sign_in, assertion):
    """Hostile requests add no series, and their content appears in no metric."""
    secret = "zanzibar"
    headers = sign_in(f"{secret}@example.com")
    token = headers["Authorization"].removeprefix("Bearer ")

    def attack(number: int) -> None:
        word = f"{secret}{number}"
        for path in (f"/{word}", f"/v1/profiles/{word}@example.com", f"/v1/pictures/{word}", "/%ff"):
            app.get(f"{path}?{word}", headers=headers | {"Host": word}, status="*")
        app.request("/v1/", method=word.upper(), status="*")
        app.request("/v1/profiles", method=word.upper(), status="*")
        app.put(
            f"/v1/profiles/{secret}@example.com/picture?crop={word}", word, headers=headers, status="*"
        )
        for proof in (
            word,
            f"{word}~{word}",
            f"{word}.{word}.{word}~{word}",
            assertion("a@b.example")[1:],
        ):
            app.post_json("/v1/sessions", {"proofs": [{"assertion": proof}]}, status="*")
        app.get("/v1/profiles", headers={"Authorization": word, "Origin": word}, status="*")

    attack(0)
    before = len(metrics(app))
    for number in range(1, 20):
        attack(number)
    found = metrics(app)
    assert len(found) == before
    assert before < 400
    for leak in (secret, secret.upper(), token, "@", "example"):
        assert leak not in found.text


class Work:
    """Work that blocks a thread until the test ends it."""

    def __init__(self) -> None:
        self.done = threading.Event()

    def service(self) -> None:
        """Wait for the test."""
        self.done.wait(30)


def test_requests_that_wait(tmp_path):
    """Requests that wait for a busy thread are measured."""
    app, work = application(tmp_path), Work()

    def waiting() -> float:
        return Exposition(app.services.metrics.exposition()).value("persona_http_queued_requests")

    with serving(app, threads=str(MIN_THREADS)) as server:
        for _ in range(MIN_THREADS):
            server.task_dispatcher.add_task(work)
        with socket.create_connection(("127.0.0.1", server.effective_port), 30) as connection:
            connection.sendall(b"GET /v1/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            wait_for(lambda: waiting() == 1, every=0.01)
            work.done.set()
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert waiting() == 0
    app.close()


def test_applications_share_nothing(tmp_path):
    """Two applications in a process have separate metrics."""
    first, second = (application(tmp_path) for _ in range(2))
    try:
        TestApp(first).get("/v1/")
        texts = [each.services.metrics.exposition() for each in (first, second)]
    finally:
        for each in (first, second):
            each.close()
    requests = [Exposition(text).value("persona_http_requests_total") for text in texts]
    assert requests == [1, 0]


def test_sum():
    """Metrics of several processes are summed; an ended process keeps its counters, not its gauges."""
    texts = []
    for number in (1, 2):
        metrics = Metrics("7")
        for _ in range(number):
            metrics.count_request("/v1/", "GET", 200, 0.003)
        metrics.watch_queue(range(number))
        texts.append(metrics.exposition())
    total = Sum()
    total.add(texts[0], cumulative_only=True)
    for text in texts:
        total.add(text)
    found = Exposition(total.text())
    assert found.value("persona_http_requests_total") == 1 + 1 + 2
    assert found.value("persona_http_request_duration_seconds_bucket", le="0.005") == 4
    assert found.value("persona_http_queued_requests") == 1 + 2
    assert found.value("persona_build_info") == 1
    starts = [Exposition(text).value("process_start_time_seconds") for text in texts]
    assert found.value("process_start_time_seconds") == max(starts)
    assert found.names == Exposition(texts[0]).names


def test_served_on_an_address_of_its_own(tmp_path):
    """A service serves its metrics at their own address only."""
    with closing(Service(tmp_path / "service", "memory", "")) as service:
        service.start()
        client = Client(service, "alice@example.com")
        client.sign_in()
        assert client.upload(encode(quadrants())).status == 200
        assert client.call("GET", "/metrics").status == 404
        found = service.metrics()
    assert found.value("persona_http_requests_total", route="/v1/sessions", status="201") == 1
    assert found.value("persona_picture_uploads_total", format="jpeg", outcome="accepted") == 1
    assert found.value("process_resident_memory_bytes") > 1e6
    assert "alice" not in found.text
