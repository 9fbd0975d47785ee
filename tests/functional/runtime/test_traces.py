"""Traces, as a collector on loopback receives them from the service as a process."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading

import pytest
from support.clients.identities import bundle
from support.clients.leaks import leaks
from support.clients.searching import found_in, texts
from support.pictures.pictures import encode, quadrants
from support.servers.answering import Reply
from support.servers.applications import application, running, wait_for
from support.servers.collector import collecting
from support.servers.ports import free_port
from support.servers.services import Client, Service

from persona_profile.settings import InvalidSettings

EMAIL = "alice.liddell@example.com"
STRANGER = "bob.dodgson@bob-dodgson.invalid"
NAME = "Alice Pleasance Liddell"
REMOTE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAMPLED = f"00-{REMOTE}-{PARENT}-01"
PROXY = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": "x-forwarded-for"}


def traced(folder, endpoint: str, *more: str) -> Service:
    """Return a service that sends traces, not started."""
    ours = ["pictures.formats = jpeg", "traces.sampling_ratio = 1", f"traces.endpoint = {endpoint}"]
    lines = [*ours, *more]
    return Service(folder, more="\n".join(lines))


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
            proof = json.dumps({"proofs": [{"assertion": bundle(STRANGER, service.public)}]})
            kind = "application/json"
            assert client.call("POST", "/v1/sessions", proof.encode(), kind).status == 401
            service.signal(signal.SIGTERM)
            assert service.wait() == 0
        finally:
            service.close()
        yield collector, client.token, unknown, service.log


def test_sign_in(visited):
    """A sign-in has spans of queue and store below the request, which has the pattern of its path."""
    collector, *_ = visited
    request, _ = collector.wait_for("POST /v1/sessions", 2)
    parts = collector.trace(request)
    assert request.parent_id == ""
    assert request.attributes["http.route"] == "/v1/sessions"
    assert request.attributes["http.response.status_code"] == 201
    assert len(request.attributes["persona.request_id"]) == 32
    assert {"queue", "store.apply"} <= parts.keys()
    for each in (span for spans in parts.values() for span in spans if span is not request):
        assert request.span_id in (each.span_id, each.parent_id), each
        assert request.began <= each.began <= each.ended <= request.ended
    assert parts["queue"][0].began == request.began
    assert request.resource["service.name"] == "cards"


def test_provider_lookup(visited):
    """The lookup of an identity provider is a span that names the code of its failure, not its host."""
    collector, *_ = visited
    _, request = collector.wait_for("POST /v1/sessions", 2)
    [lookup] = collector.trace(request)["provider.lookup"]
    assert lookup.failed
    assert lookup.parent_id == request.span_id
    assert lookup.attributes["error.type"] in ("issuer_unreachable", "issuer_address_forbidden")
    assert request.attributes["http.response.status_code"] == 401


def test_new_key(visited):
    """The first change of a profile seals a new data key."""
    collector, *_ = visited
    request = collector.wait_for("PATCH /v1/profiles/{email}")[0]
    [sealed] = collector.trace(request)["keys.seal"]
    assert sealed.parent_id == request.span_id


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
    """The traceparent of a peer that is no trusted proxy is ignored; unknown paths have no route."""
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
    needles = {each for text in (EMAIL, STRANGER, "bob-dodgson", NAME, token) for each in texts(text)}
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
    """A trusted proxy's traceparent is the parent and decides; a malformed one is ignored."""
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


@pytest.mark.parametrize("reply", [Reply(500), Reply(503), None])
def test_broken_collector(tmp_path, reply, caplog):
    """A collector that is broken or absent fails no request; one line of the log says so."""
    with collecting(reply or Reply(200)) as collector:
        absent = f"http://127.0.0.1:{free_port()}/v1/traces"
        endpoint = absent if reply is None else collector.endpoint
        settings = {"traces__endpoint": endpoint, "traces__sampling_ratio": "1"}
        app = application(tmp_path, shutdown__grace_seconds="1", **settings)
        with running(app) as origin:
            for _ in range(5):
                ask(origin, None)
            wait_for(lambda: "the collector takes no spans" in caplog.text)
        app.close()
    assert caplog.text.count("the collector takes no spans") == 1
    assert "127.0.0.1" not in caplog.text


def test_silent_collector(tmp_path):
    """A collector that never answers delays neither a request, nor the end beyond the grace time."""
    released = threading.Event()
    with collecting(Reply(200, before=lambda: released.wait(60))) as collector:
        service = traced(tmp_path, collector.endpoint, "shutdown.grace_seconds = 2")
        service.start()
        try:
            client = Client(service, EMAIL)
            assert client.call("GET", "/v1/").status == 200
            service.signal(signal.SIGTERM)
            assert service.wait(30) == 0
        finally:
            released.set()
            service.close()
    assert "Traceback" not in service.log


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
    assert "secret" not in str(caught.value)
