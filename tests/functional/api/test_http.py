import json
import logging
import socket
import threading
import time
import urllib.error
import urllib.request

import pytest

from backends import Put, Unavailable
from backends.engines.memory import MemoryBackend
from persona_profile.serving.chores import PURGE_ITEMS, purge_regularly

DIALOG = {"Origin": "https://dialog.example"}
STRANGER = {"Origin": "https://evil.example"}


def assert_problem(response, status, code):
    """Check that a response is a complete problem."""
    assert response.status_int == status
    assert response.content_type == "application/problem+json"
    problem = response.json
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["title"]
    assert len(problem["request_id"]) == 32


class TestProblems:
    @pytest.mark.parametrize(
        "path", ["/v2/", "/v1/nothing", "/v1/profiles/", "/index.php", "/static/x"]
    )
    def test_no_such_route(self, app, path):
        """An unknown address gets a problem."""
        assert_problem(app.get(path, status=404), 404, "not_found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "/v1/profiles", "GET, HEAD"),
            ("PUT", "/v1/sessions", "DELETE, POST"),
            ("POST", "/v1/profiles/a@example.com", "DELETE, GET, HEAD, PATCH, PUT"),
            ("OPTIONS", "/v1/profiles", "GET, HEAD"),
            ("TRACE", "/v1/", "GET, HEAD"),
            ("DELETE", "/v1/pictures/x", "GET, HEAD"),
        ],
    )
    def test_method(self, app, method, path, allowed):
        """An unknown method gets the list of methods."""
        response = app.request(path, method=method, status=405)
        assert_problem(response, 405, "method_not_allowed")
        assert ", ".join(sorted(response.headers["Allow"].split(", "))) == allowed

    @pytest.mark.parametrize("path", ["/%ff", "/v1/profiles/%ff@example.com"])
    def test_path_that_is_not_utf8(self, app, path):
        """A path that is not UTF-8 is malformed."""
        assert_problem(app.get(path, status=400), 400, "malformed_request")

    def test_head(self, app, sign_in):
        """HEAD has the response of GET, without the body."""
        response = app.head("/v1/profiles", headers=sign_in("alice@example.com"))
        assert response.headers["ETag"]
        assert not response.body

    def test_storage_does_not_answer(self, app, sign_in, monkeypatch):
        """If the storage does not answer, the client gets a time to retry."""
        headers = sign_in("alice@example.com")

        def fail(_addresses):
            raise Unavailable(retry_after=7)

        monkeypatch.setattr(app.app.backend, "get_many", fail)
        response = app.get("/v1/profiles", headers=headers, status=503)
        assert_problem(response, 503, "storage_unavailable")
        assert response.headers["Retry-After"] == "7"

    def test_mistake_of_ours(self, app, sign_in, monkeypatch, caplog):
        """A programming error is logged by place, without values; the client learns nothing of it."""
        headers = sign_in("alice@example.com")

        def fail(_addresses):
            raise KeyError("alice@example.com")

        monkeypatch.setattr(app.app.backend, "get_many", fail)
        response = app.get("/v1/profiles", headers=headers, status=500)
        assert_problem(response, 500, "internal_error")
        assert response.json["request_id"] in caplog.text
        assert "KeyError" in caplog.text
        assert "test_http.py" in caplog.text
        assert "alice" not in caplog.text + response.text

    def test_strange_requests(self, app, sign_in):
        """Unusual paths, queries and headers get a clear response, never a 500."""
        headers = sign_in("alice@example.com")
        for path in ("/v1/profiles?thumbnails=%ff", "/v1/profiles?%ff=1", "/v1/profiles?thumbnails="):
            assert app.get(path, headers=headers, status="*").status_int in (200, 400)
        for name in ("If-Match", "If-None-Match", "Accept", "Content-Type", "Cookie", "Host", "Range"):
            for value in ("\xff\xfe", '"', "*,*", "x" * 5000, ";;;=,"):
                answer = app.get("/v1/profiles", headers=headers | {name: value}, status="*")
                assert answer.status_int in (200, 304, 400, 406)


class TestCors:
    def test_preflight(self, app):
        """A configured dialog may make all calls, with its token and conditions."""
        asks = DIALOG | {
            "Access-Control-Request-Method": "PATCH",
            "Access-Control-Request-Headers": "authorization,content-type,if-match",
        }
        response = app.options("/v1/profiles/a@example.com", headers=asks, status=204)
        assert response.headers["Access-Control-Allow-Origin"] == DIALOG["Origin"]
        assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
        assert "If-Match" in response.headers["Access-Control-Allow-Headers"]
        assert "Origin" in response.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in response.headers

    @pytest.mark.parametrize("path", ["/v1/", "/v1/profiles", "/v1/nothing"])
    def test_answers_and_problems(self, app, path):
        """A configured dialog can read every response, problems too."""
        response = app.get(path, headers=DIALOG, status="*")
        assert response.headers["Access-Control-Allow-Origin"] == DIALOG["Origin"]
        assert "ETag" in response.headers["Access-Control-Expose-Headers"]

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example",
            "null",
            "https://dialog.example.evil.example",
            "http://dialog.example",
            "*",
        ],
    )
    def test_strangers(self, app, origin):
        """No other page can read anything, with any form of origin."""
        asks = {"Origin": origin, "Access-Control-Request-Method": "PATCH"}
        responses = (
            app.get("/v1/", headers={"Origin": origin}),
            app.options("/v1/profiles", headers=asks, status="*"),
        )
        for response in responses:
            assert not [name for name in response.headers if name.startswith("Access-Control")]
            assert "Origin" in response.headers["Vary"]


class TestOperations:
    def test_description(self, app):
        """The root lists limits, claims, sizes and formats, with and without its slash."""
        document = app.get("/v1/").json
        assert document["name"] == "Persona Profile Server"
        assert document["pictures"]["sizes"] == [64, 128, 256, 512]
        assert "picture_alt" in document["claims"]
        assert app.get("/v1").json == document

    def test_heartbeats(self, app):
        """A healthy server reports so."""
        assert app.get("/__lbheartbeat__").json == {"status": "ok"}
        checks = dict.fromkeys(("storage", "ledger", "keyring", "pictures"), "ok")
        details = {"pictures": {"landlock": "ok", "seccomp": "ok"}}
        assert app.get("/__heartbeat__").json == {
            "status": "ok",
            "checks": checks,
            "details": details,
        }

    def test_heartbeat_without_storage(self, app, monkeypatch):
        """A server whose storage does not answer reports so, and is still up."""

        def fail(_self):
            raise Unavailable

        monkeypatch.setattr(MemoryBackend, "ping", fail)
        assert app.get("/__heartbeat__", status=503).json["checks"]["storage"] == "error"
        app.get("/__lbheartbeat__", status=200)


class TestDevelopment:
    def test_assertion(self, app):
        """The development identity provider issues assertions for the example domains."""
        answer = app.post_json("/development/assertions", {"email": "a@b.example"}, status=201).json
        app.post_json("/v1/sessions", {"proofs": [answer]}, status=201)

    @pytest.mark.parametrize("email", ["a@mozilla.org", "a", "", "a@example.com.evil.org"])
    def test_no_assertion(self, app, email):
        """It vouches for no other domain."""
        problem = app.post_json("/development/assertions", {"email": email}, status=400).json
        assert problem["errors"][0]["name"] == "email"

    @pytest.mark.parametrize("path", ["/", "/development/cards"])
    def test_page(self, app, path):
        """The demo, and the page of all states of a card, have a strict content security policy."""
        response = app.get(path)
        assert response.content_type == "text/html"
        assert "script-src 'self'" in response.headers["Content-Security-Policy"]
        assert "unsafe" not in response.headers["Content-Security-Policy"]


class TestServer:
    """Responses that waitress makes itself."""

    @staticmethod
    def ask(origin, raw):
        """Send bytes; return status line, headers and body."""
        host, port = origin.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(raw)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return head.decode("latin-1"), body

    @pytest.mark.parametrize(
        ("raw", "status", "code"),
        [
            (b"GET / HTTP/1.1\r\nHost: a\r\nbroken\r\n\r\n", 400, "malformed_request"),
            (b"nonsense\r\n\r\n", 400, "malformed_request"),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
                431,
                "request_headers_too_large",
            ),
            (
                b"POST /v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n",
                413,
                "body_too_large",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
                501,
                "not_implemented",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                400,
                "malformed_request",
            ),
        ],
    )
    def test_problems(self, server, raw, status, code):
        """A request that the server rejects before the application gets a problem too."""
        head, body = self.ask(server, raw)
        assert head.split()[1] == str(status)
        assert "application/problem+json" in head
        assert json.loads(body)["code"] == code
        assert "Server:" not in head

    def test_refusal_is_read_by_a_client_that_sends_on(self, server):
        """A client that sends all of a too large body gets the response, not a reset."""
        raw = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000000\r\n\r\n" + bytes(60_000_000)
        _, body = self.ask(server, raw)
        assert json.loads(body)["code"] == "body_too_large"

    def test_unknown_method(self, server):
        """An unknown method of HTTP is rejected too."""
        _, body = self.ask(server, b"BREW /v1/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert json.loads(body)["code"] == "method_not_allowed"

    @pytest.mark.parametrize("text", ["Client disconnected while serving", "Exception while serving"])
    def test_log_without_paths(self, server, caplog, text):
        """Log lines of waitress do not contain paths, which may contain an email."""
        assert server
        logging.getLogger("waitress").error("%s /v1/profiles/alice@example.com" % text)  # noqa: G002, UP031 - as it does
        assert f"{text} a request" in caplog.text
        assert "alice" not in caplog.text

    def test_readable_by_the_dialog(self, server):
        """The dialog can read that a body is too large, and the limit."""
        raw = b"PUT / HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\nContent-Length: 99999999\r\n\r\n"
        raw %= DIALOG["Origin"].encode()
        head, body = self.ask(server, raw)
        assert "Access-Control-Allow-Origin: https://dialog.example" in head
        assert json.loads(body)["limit"] == 20 * 1024 * 1024

    def test_application(self, server):
        """The application answers through the server."""
        with urllib.request.urlopen(f"{server}/v1/", timeout=10) as response:
            assert json.load(response)["name"] == "Persona Profile Server"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{server}/nothing", timeout=10)
        with caught.value as problem:
            assert json.load(problem)["code"] == "not_found"


def test_expired_items_are_purged(monkeypatch):
    """A running server deletes all expired items, and continues after a failure or a mistake."""
    backend = MemoryBackend()
    purge, failures = backend.purge_expired, [Unavailable(), KeyError("a mistake")]

    def fail_once(limit):
        if failures:
            raise failures.pop()
        return purge(limit)

    monkeypatch.setattr(backend, "purge_expired", fail_once)
    expires_at = int(time.time()) + 1
    for number in range(PURGE_ITEMS + 1):
        backend.apply(b"\x00%d" % number, [Put("used", b"", expires_at=expires_at)])
    stopped = threading.Event()
    thread = threading.Thread(target=purge_regularly, args=("x", backend.purge_expired, stopped, 0.01))
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while backend._partitions and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        stopped.set()
        thread.join(5)
    assert not backend._partitions
    assert not failures
