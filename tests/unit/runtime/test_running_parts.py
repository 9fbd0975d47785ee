import json
import logging
import threading

import pytest

from persona_profile.runtime.build import describe_build
from persona_profile.runtime.heartbeat import Heartbeat
from persona_profile.runtime.logs import MozlogFormatter, TextFormatter
from persona_profile.serving.waitress_settings import adjustments
from persona_profile.settings import InvalidSettings


@pytest.mark.parametrize("formatter", [TextFormatter(), MozlogFormatter()])
def test_a_record_is_a_line(formatter):
    """Whatever is told in a record, it begins no line of its own and controls no terminal."""
    said = "one\nERROR app: forged\r\x1b[2J\x00\x85\u2028"
    line = formatter.format(logging.makeLogRecord({"name": "x", "msg": "%s", "args": (said,)}))
    assert len(line.splitlines()) == 1
    assert line.isprintable()


@pytest.mark.parametrize(
    ("name", "value"),
    [("threads", "many"), ("threads", "4"), ("thread", "8"), ("trusted_proxy_headers", "x-real-ip")],
)
def test_settings_of_waitress(name, value):
    """A setting that waitress rejects, or too few threads, is reported as a mistake in the settings."""
    with pytest.raises(InvalidSettings, match=r"\[server:main\]"):
        adjustments({name: value})


class TestBuild:
    def test_of_a_deployment(self, tmp_path):
        """What a deployment wrote into version.json is told; what it left away has its default."""
        path = tmp_path / "version.json"
        path.write_text(json.dumps({"source": "https://x", "commit": "abc", "build": "", "more": 1}))
        told = describe_build(path)
        assert told.keys() == {"source", "version", "commit", "build"}
        assert (told["source"], told["commit"], told["build"]) == ("https://x", "abc", "")
        assert told["version"]

    @pytest.mark.parametrize("content", ["", "[]", '{"commit": 5}', None])
    def test_not_one(self, tmp_path, content):
        """A file that is named and is no version.json is an error that names it."""
        path = tmp_path / "version.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ValueError, match=r"version\.json"):
            describe_build(path)


class TestHeartbeat:
    def test_side_by_side(self):
        """Checks run at the same time: each of these waits for the other."""
        both = threading.Barrier(2)
        heartbeat = Heartbeat({"a": lambda: both.wait(10), "b": lambda: both.wait(10)}, limit=20)
        assert heartbeat.statuses() == {"a": "ok", "b": "ok"}
        heartbeat.close()

    def test_advisory(self):
        """What the service does without is told, and changes nothing."""

        def fail() -> None:
            raise OSError

        heartbeat = Heartbeat({"needed": lambda: None, "nice": fail}, advisory={"nice"})
        statuses = heartbeat.statuses()
        assert statuses == {"needed": "ok", "nice": "error"}
        assert heartbeat.is_healthy(statuses)
        assert not heartbeat.is_healthy({"needed": "timeout", "nice": "ok"})
        heartbeat.close()

    def test_limit(self):
        """A check that does not end is told, costs no more than the limit, and is begun only once."""
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
