"""Traces, as a collector on loopback receives them from the service as a process."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading

import pytest
from support.clients.leaks import leaks
from support.clients.searching import found_in, texts
from support.pictures.pictures import encode, quadrants
from support.servers.answering import Reply
from support.servers.applications import application, running
from support.servers.collector import Collector, Exported, collecting
from support.servers.services import Client, Service, free_port

from persona_profile.settings import InvalidSettings

EMAIL = "alice.liddell@example.com"
NAME = "Alice Pleasance Liddell"
REMOTE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = f"00-{REMOTE}-{PARENT}-01"
PROXY = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"}


def traced(folder, endpoint: str, *more: str) -> Service:
    """Return a service that sends traces, not started."""
    lines = ["pictures.formats = jpeg", f"traces.endpoint = {endpoint}", *more]
    return Service(folder, "sqlite", f"sqlite:///{folder}/store.sqlite", more="\n".join(lines))


def request_of(collector: Collector, name: str) -> Exported:
    """Return the span of a request."""
    return collector.wait_for(name)[0]


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    """A collector after a sign-in, an upload, a wrong picture and other requests, and their secrets."""
    folder = tmp_path_factory.mktemp("traces")
    with collecting() as collector:
        service = traced(folder, collector.endpoint, "traces.service_name = cards")
        service.start()
        try:
            client = Client(service, EMAIL)
            client.sign_in()
            assert client.set_name(NAME).status == 200
            picture = encode(quadrants(300, 200))
            answer = client.upload(picture)
            assert answer.status in (200, 201, 204), answer
            assert client.upload(b"\xff\xd8\xff" + b"x" * 100).status in (415, 422)
            unknown = client.call("GET", f"/nothing/{EMAIL}", traceparent=SAMPLED)
            assert client.call("GET", f"{client.profile}?{EMAIL}").status == 200
            client.call("BREW", f"/v1/profiles/{EMAIL}")
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        finally:
            service.close()
        yield collector, client.token, unknown, service.log


def test_sign_in(visited):
    """A sign-in has spans of queue, provider lookup, key service and store, all below the request."""
    collector, *_ = visited
    request = request_of(collector, "POST /v1/sessions")
    parts = collector.trace(request)
    assert request.parent_id == ""
    assert request.attributes["http.route"] == "/v1/sessions"
    assert request.attributes["http.response.status_code"] == 201
    assert len(request.attributes["persona.request_id"]) == 32
    assert {"queue", "provider.lookup", "keys.seal", "store.apply"} <= parts.keys()
    for each in (span for spans in parts.values() for span in spans if span is not request):
        assert each.span_id == request.span_id or each.parent_id == request.span_id, each
        assert request.began <= each.began <= each.ended <= request.ended
    assert parts["queue"][0].began == request.began
    assert request.resource["service.name"] == "cards"


def test_upload(visited):
    """An upload has spans of its worker; a wrong picture names its code, and is no failed request."""
    collector, *_ = visited
    good, bad = collector.wait_for("PUT /v1/profiles/{email}/picture", 2)
    parts = collector.trace(good)
    assert {"queue", "picture.open", "picture.render", "keys.open", "store.apply"} <= parts.keys()
    [opened], [rendered] = parts["picture.open"], parts["picture.render"]
    assert opened.attributes == {"picture.format": "jpeg", "picture.pixels": 60_000}
    assert opened.ended <= rendered.began < rendered.ended
    assert {opened.parent_id, rendered.parent_id} == {good.span_id}
    wrong = collector.trace(bad)
    failed = next(each for name in ("picture.open", "picture.render") for each in wrong.get(name, ()))
    assert failed.failed
    assert failed.attributes["error.type"] in ("picture_broken", "unsupported_picture", "broken")
    assert not bad.failed


def test_stranger_has_no_parent(visited):
    """The traceparent of a peer that is no trusted proxy begins nothing; unknown paths have no route."""
    collector, _, unknown, _ = visited
    assert all(each.trace_id != REMOTE for each in collector.spans)
    request_id = unknown.headers["X-Request-Id"]
    [found] = [
        each for each in collector.spans if each.attributes.get("persona.request_id") == request_id
    ]
    assert found.name == "GET"
    assert "http.route" not in found.attributes
    assert collector.wait_for("_OTHER /v1/profiles/{email}")


def test_no_person(visited):
    """Nothing that was exported has an email, an address, a token or a claim, in any encoding."""
    collector, token, _, log = visited
    assert len(collector.spans) > 30
    needles = {each for text in (EMAIL, NAME, token, "127.0.0.1") for each in texts(text)}
    assert not found_in(collector.bodies, needles)
    lines = [
        f"{name} {value}"
        for each in collector.spans
        for name, value in {"name": each.name, **each.attributes}.items()
        if name != "persona.request_id"
    ]
    assert not list(leaks(lines, [NAME]))
    assert not list(leaks(log.splitlines(), [NAME]))


def test_trusted_proxy(tmp_path):
    """A trusted proxy's traceparent is the parent, and its decision holds; a malformed one is ignored."""
    with collecting() as collector:
        settings = {"traces__endpoint": collector.endpoint, "traces__sampling_ratio": "0"}
        app = application(tmp_path, **settings)
        with running(app, **PROXY) as origin:
            for parent in (SAMPLED, SAMPLED[:-1] + "0", "00-xyz", f"{SAMPLED}, {SAMPLED}", None):
                ask(origin, parent)
        app.close()
        [request] = [each for each in collector.spans if each.name != "queue"]
    assert request.name == "GET /v1/"
    assert (request.trace_id, request.parent_id) == (REMOTE, PARENT)


def ask(origin: str, parent: str | None) -> None:
    """Send a request with a traceparent."""
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=30)
    connection.request("GET", "/v1/", headers={} if parent is None else {"traceparent": parent})
    assert connection.getresponse().status == 200
    connection.close()


def test_sampling(tmp_path):
    """With a ratio of 0 no trace begins here, and requests are answered as ever."""
    with collecting() as collector:
        settings = {"traces__endpoint": collector.endpoint, "traces__sampling_ratio": "0"}
        app = application(tmp_path, **settings)
        with running(app) as origin:
            ask(origin, SAMPLED)
        app.close()
        assert collector.spans == []


@pytest.mark.parametrize("kind", ["absent", "silent", "broken"])
def test_bad_collector(tmp_path, kind):
    """A collector that is absent, silent or broken fails no request and delays no end beyond the grace."""
    released = threading.Event()
    replies = {"silent": Reply(200, before=lambda: released.wait(60)), "broken": Reply(500)}
    with collecting(replies.get(kind, Reply(200))) as collector:
        absent = f"http://127.0.0.1:{free_port()}/v1/traces"
        service = traced(
            tmp_path, absent if kind == "absent" else collector.endpoint, "shutdown.grace_seconds = 2"
        )
        service.start()
        try:
            client = Client(service, EMAIL)
            client.sign_in()
            assert client.set_name(NAME).status == 200
            service.signal(signal.SIGTERM)
            assert service.wait(20) == 0
        finally:
            released.set()
            service.close()
    assert "Traceback" not in service.log
    assert service.log.count("the collector takes no spans") <= 1


def test_several_processes(tmp_path):
    """Each process of several sends the spans of its requests, also those of its last moments."""
    with collecting() as collector:
        service = traced(tmp_path, collector.endpoint)
        service.start("--processes", "2")
        try:
            for number in range(12):
                client = Client(service, EMAIL)
                if not number:
                    client.sign_in()
                    assert client.upload(encode(quadrants(300, 200))).status < 300
                assert client.call("GET", "/v1/").status == 200
                client.close()
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        finally:
            service.close()
        assert len(collector.wait_for("GET /v1/", 12)) == 12
        assert collector.wait_for("picture.render")
        assert 1 <= len({each.resource["service.instance.id"] for each in collector.spans}) <= 2


def test_off_imports_nothing(tmp_path):
    """Without an endpoint nothing of OpenTelemetry is imported; without the extra the start says so."""
    script = f"""
import json, pathlib, sys
from support.servers.applications import application
from persona_profile.settings import InvalidSettings
app = application(pathlib.Path({str(tmp_path)!r}))
app.close()
found = [name for name in sys.modules if name.startswith("opentelemetry")]
sys.modules["opentelemetry"] = None
try:
    application(pathlib.Path({str(tmp_path)!r}), traces__endpoint="http://127.0.0.1:1/v1/traces")
except InvalidSettings as error:
    print(json.dumps([found, str(error)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd="tests",
    )
    assert json.loads(done.stdout.splitlines()[-1]) == [[], 'traces.endpoint: needs the extra "traces"']


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traces__endpoint", "127.0.0.1:4318"),
        ("traces__endpoint", "http://user:secret@127.0.0.1:4318/v1/traces"),
        ("traces__endpoint", "http://127.0.0.1:99999/v1/traces"),
        ("traces__endpoint", "http://127.0.0.1:4318/v1/traces?key=secret"),
        ("traces__service_name", "two words"),
        ("traces__sampling_ratio", "2"),
        ("traces__sampling_ratio", "1.5"),
        ("traces__sampling_ratio", "nan"),
    ],
)
def test_wrong_settings(tmp_path, name, value):
    """Wrong settings stop the start, without their value."""
    with pytest.raises(InvalidSettings, match=r"traces\.\w+: must be") as caught:
        application(tmp_path, **{name: value})
    assert value not in str(caught.value)
