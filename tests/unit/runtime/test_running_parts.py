import json
import logging
import socket
import subprocess
import sys
import threading

import pytest

from persona_profile.runtime.build import describe_build
from persona_profile.runtime.control import METRICS, ControlChannel, Messages
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.logs import MozlogFormatter, TextFormatter
from persona_profile.runtime.systemd import READY, notify
from persona_profile.serving.waitress_settings import adjustments
from persona_profile.settings import InvalidSettings


@pytest.mark.parametrize("formatter", [TextFormatter(), MozlogFormatter()])
def test_a_record_is_a_line(formatter):
    """A log record is a single printable line, whatever its content."""
    text = "one\nERROR app: forged\r\x1b[2J\x00\x85\u2028"
    line = formatter.format(logging.makeLogRecord({"name": "x", "msg": "%s", "args": (text,)}))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


def test_an_error_has_its_kind_and_place():
    """The record of an error has its kind and the lines that raised it, but not its message."""
    try:
        int("SECRET")
    except ValueError:
        record = logging.makeLogRecord({"name": "x", "msg": "failed", "exc_info": sys.exc_info()})
    line = MozlogFormatter().format(record)
    fields = json.loads(line)["Fields"]
    assert fields["error"] == "ValueError"
    assert fields["stack"].startswith(f"{__file__}:")
    assert "SECRET" not in line


def test_an_uncaught_error_is_a_record():
    """An error that nothing catches, also in a thread, is a record; an interruption is silent."""
    script = """
import sys, threading
from persona_profile.runtime.logs import configure

def fail(error):
    raise error

configure("mozlog", "info")
for error in (ValueError("SECRET"), KeyboardInterrupt()):
    thread = threading.Thread(target=fail, args=[error])
    thread.start()
    thread.join()
raise LookupError("SECRET")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["Fields"]["error"] for each in records] == ["ValueError", "LookupError"]
    assert (done.returncode, done.stderr) == (1, "")
    assert "SECRET" not in done.stdout


def test_systemd_that_is_not_there(tmp_path, monkeypatch, caplog):
    """A notification that can't be sent is logged, and the service goes on."""
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "absent"))
    notify(READY)
    assert f"systemd was not notified of {READY}: No such file or directory" in caplog.text


def test_message_in_parts():
    """A message is received once its last byte is there, however it was divided."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ControlChannel(ours).send(METRICS, "é" * 10)
        whole = theirs.recv(100)
    messages = Messages()
    for byte in whole[:-1]:
        assert list(messages.feed(bytes([byte]))) == []
    assert list(messages.feed(whole[-1:])) == [(METRICS, "é" * 10)]


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", "many"), ("threads", "4"), ("thread", "8"), ("trusted_proxy_headers", "x-real-ip")],
)
def test_settings_of_waitress(name, value):
    """A setting that waitress rejects, or too few threads, raises InvalidSettings."""
    with pytest.raises(InvalidSettings, match=r"\[server:main\]"):
        adjustments({name: value})


class TestBuild:
    def test_of_a_deployment(self, tmp_path):
        """The build has the members of version.json, and defaults for empty ones."""
        path = tmp_path / "version.json"
        path.write_text(json.dumps({"source": "https://x", "commit": "abc", "build": "", "more": 1}))
        build = describe_build(path)
        assert build.keys() == {"source", "version", "commit", "build"}
        assert (build["source"], build["commit"], build["build"]) == ("https://x", "abc", "")
        assert build["version"]

    @pytest.mark.parametrize("content", ["", "[]", '{"commit": 5}', None])
    def test_not_one(self, tmp_path, content):
        """A missing or malformed version.json raises an error with its name."""
        path = tmp_path / "version.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match=r"version\.json"):
            describe_build(path)


class TestHeartbeat:
    def test_side_by_side(self):
        """Checks run concurrently."""
        both = threading.Barrier(2)
        heartbeat = Heartbeat({"a": lambda: both.wait(10), "b": lambda: both.wait(10)}, limit=20)
        assert heartbeat.statuses() == {"a": "ok", "b": "ok"}
        heartbeat.close()

    def test_advisory(self):
        """A failing advisory check is reported and leaves the service healthy."""

        def fail() -> None:
            raise OSError

        heartbeat = Heartbeat({"needed": lambda: None, "nice": fail}, advisory={"nice"})
        statuses = heartbeat.statuses()
        assert statuses == {"needed": "ok", "nice": "error"}
        assert heartbeat.is_healthy(statuses)
        assert not heartbeat.is_healthy({"needed": "timeout", "nice": "ok"})
        heartbeat.close()

    def test_limit(self):
        """A hanging check is reported within the limit and started only once."""
        release = threading.Event()
        begun = []

        def hang() -> None:
            begun.append(1)
            release.wait(60)

        def fail() -> None:
            raise OSError

        heartbeat = Heartbeat({"hangs": hang, "fails": fail, "works": lambda: None}, limit=0.5)
        for _ in range(2):
            assert heartbeat.statuses() == {"hangs": "timeout", "fails": "error", "works": "ok"}
        assert len(begun) == 1
        release.set()
        heartbeat.close()
