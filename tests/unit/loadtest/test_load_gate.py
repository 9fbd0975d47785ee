from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from load_records import START, Recorded

from loadtest import record
from loadtest.gate import document, gate
from loadtest.gate.levels import InvalidLevels, Levels
from loadtest.record import GeneratorSample, Run, Second, ServerSample, Step, bucket, percentile

LATE = bucket(9_000)


@pytest.fixture
def judged(tmp_path):
    """Return what judges a run: its exit status and its report as JSON."""

    def judge(recorded, *arguments):
        number = len(list(tmp_path.iterdir()))
        folder = recorded.write(tmp_path / str(number))
        accepted = ["--accepted", str(tmp_path / "accepted.json")]
        status = gate.main([str(folder), *accepted, *arguments])
        return status, json.loads((folder / "report.json").read_text())

    return judge


def codes(report):
    """Return why a run is void."""
    return {each["code"] for each in report["doubts"]}


def of(kind, where=lambda line: True, **changes):
    """Return a change of lines of a kind."""
    return lambda line: replace(line, **changes) if isinstance(line, kind) and where(line) else line


def late(line):
    """What a server does that answers nobody for three seconds."""
    if isinstance(line, Second) and START + 20 <= line.at < START + 23:
        waited = bucket(1000 * (START + 23 - line.at))
        return replace(line, latencies={waited: line.planned})
    return line


def wrong(line):
    """What a server does that mixes up pictures for a second."""
    if isinstance(line, Second) and line.endpoint == "picture_read" and line.at == START + 30:
        return replace(line, latencies={}, errors={"wrong_content": line.planned})
    return line


def test_good_run(judged):
    """A run whose steps all met their levels promotes, and reports the carried users."""
    status, report = judged(Recorded(users=(300_000, 600_000)))
    assert (status, report["outcome"], report["doubts"]) == (0, "promote", [])
    assert report["users_carried"]["carried"] == 600_000
    assert report["users_carried"]["failed"] is None is report["users_carried"]["knee"]
    [_, step] = report["steps"]
    assert step["seconds_per_request"]["value"] == pytest.approx(0.008, rel=0.1)
    opened = step["endpoints"]["dialog_open"]
    assert opened["p50"] < opened["p95"]["value"] < opened["p99"]["value"]
    assert opened["headroom"] == pytest.approx(
        min(400 / opened["p95"]["value"], 1000 / opened["p99"]["value"])
    )
    # One a second, in two steps of 60 s; what came between them is left away.
    retries = report["server_metrics"]['persona_storage_retries_total{reason="transient"}']
    assert 2 * 58 <= retries <= 2 * 60


def test_knee_and_target(judged):
    """The knee is between the most users carried and the fewest that were not; the target decides."""
    users = (500_000, 1_000_000, 2_500_000)
    status, report = judged(Recorded(users=users, seconds=40), "--cores", "2")
    assert (status, report["steps"][-1]["outcome"]) == (1, "failed")
    carried = report["users_carried"]
    assert (carried["carried"], carried["failed"], carried["knee"]) == (1_000_000, 2_500_000, 1_750_000)
    assert carried["predicted_over_measured"] == pytest.approx(carried["predicted_knee"] / 1_750_000)
    assert judged(Recorded(users=users, seconds=40), "--users", "1000000")[0] == 0
    assert judged(Recorded(users=users, seconds=40), "--users", "1000001")[0] == 1


def test_target_that_was_not_tried(judged):
    """A run that never had so many users does not show that they are carried."""
    status, report = judged(Recorded(users=(300_000,)), "--users", "400000")
    assert status == 1
    assert "No step had 400,000 users" in report["reasons"][0]


@pytest.mark.parametrize(
    ("change", "figure"),
    [
        (late, "p95"),
        (of(Second, lambda line: not line.at % 7, latencies={}), "achieved"),
        (wrong, "wrong_content"),
    ],
)
def test_missed_levels(judged, change, figure):
    """A server that stands still, breaks, or answers with something else is not promoted."""
    status, report = judged(Recorded(seconds=30, change=change))
    assert status == 1
    assert figure in {each["figure"] for each in report["steps"][0]["breaches"]}


def test_shedding_is_told_from_breaking(judged):
    """A response with Retry-After is no error, and has a level of its own."""

    def some(line):
        return isinstance(line, Second) and line.endpoint == "edit"

    def shed(line):
        return replace(line, latencies={}, shed=line.planned) if some(line) else line

    def break_(line):
        return replace(line, latencies={}, errors={"status_503": line.planned}) if some(line) else line

    for change, figure, kept in ((shed, "shed_share", "errors"), (break_, "error_share", "shed")):
        status, report = judged(Recorded(change=change))
        [breach] = report["steps"][0]["breaches"]
        assert (status, breach["endpoint"], breach["figure"]) == (1, "edit", figure)
        assert not report["steps"][0][kept]


VOID = {
    "generator_busy": of(GeneratorSample, lambda line: START + 20 < line.at < START + 30, cpu=0.97),
    "generator_late": of(GeneratorSample, lambda line: START + 20 < line.at < START + 24, lag=0.4),
    "generator_silent": lambda line: (
        None if isinstance(line, GeneratorSample) and START + 20 < line.at < START + 30 else line
    ),
    "generator_unknown": lambda line: None if isinstance(line, GeneratorSample) else line,
    "generator_missing": of(Run, workers=3),
    "target_not_offered": lambda line: (
        None if isinstance(line, Second) and START + 20 < line.at < START + 30 else line
    ),
    "too_few_requests": lambda line: (
        None
        if isinstance(line, Second)
        else replace(line, rates={"edit": 0.05})
        if isinstance(line, Step)
        else line
    ),
    "nothing_measured": of(Step, is_measured=False),
    "server_restarted": of(ServerSample, lambda line: line.at > START + 30, started_at=START + 30),
    "clock_offset": of(ServerSample, clock_offset=-30.0),
    "clock_jumped": of(ServerSample, lambda line: line.at > START + 30, clock_offset=3.0),
    "cut_off": lambda line: line,
}


@pytest.mark.parametrize("code", VOID)
def test_void_runs(judged, code):
    """Nothing follows from a run in which something beside the server was wrong."""
    status, report = judged(Recorded(change=VOID[code], has_end=code != "cut_off"))
    assert (status, report["outcome"]) == (3, "void")
    assert code in codes(report)
    assert report["reasons"][0].endswith(".")


def test_clock_of_the_generator_that_goes_back(judged):
    """A run in which the clock of a generator was set back is void, and names the process."""

    def change(line):
        is_late = isinstance(line, GeneratorSample) and line.at > START + 30
        return replace(line, at=line.at - 5) if is_late else line

    status, report = judged(Recorded(change=change))
    assert status == 3
    assert any("worker-0 went back" in each["text"] for each in report["doubts"]), report["doubts"]


def test_what_voids_nothing(judged):
    """One busy second, one slow look at the clock, and a step beyond the knee decide nothing."""

    def change(line):
        line = of(GeneratorSample, lambda line: line.at == START + 20.9, cpu=1.0, lag=0.4)(line)
        line = of(ServerSample, lambda line: line.at == START + 30, clock_offset=-3.4)(line)
        return of(GeneratorSample, lambda line: line.at > START + 80, cpu=1.0)(line)

    users = (400_000, 2_500_000, 3_000_000)
    status, report = judged(Recorded(users=users, seconds=30, change=change), "--users", "400000")
    assert (status, codes(report)) == (0, set())
    assert report["steps"][2]["outcome"] == "void"


def test_target_and_a_generator_that_was_too_weak_for_more(judged):
    """A step beyond the users asked for voids nothing; it does if it is asked for."""
    change = of(GeneratorSample, lambda line: line.at > START + 18, cpu=1.0)
    recorded = Recorded(users=(400_000, 600_000), seconds=12, change=change)
    status, report = judged(recorded, "--users", "400000")
    assert (status, codes(report), report["users_carried"]["carried"]) == (0, set(), 400_000)
    for more in (["--users", "400001"], []):
        assert judged(recorded, *more)[0] == 3


def test_spike(judged):
    """Twice the users may be too many; that those from before are carried again may not fail."""
    users = (500_000, 2_500_000, 500_000)
    target = ["--users", "500000"]
    assert judged(Recorded(users=users, seconds=12), *target)[0] == 0
    assert judged(Recorded(users=users, seconds=12))[0] == 1

    def change(line):
        is_after = isinstance(line, Second) and line.at > START + 40
        return replace(line, latencies={LATE: line.planned}) if is_after else line

    status, report = judged(Recorded(users=users, seconds=12, change=change), *target)
    assert (status, report["users_carried"]["carried"]) == (1, None)


def test_reads_of_what_was_not_uploaded(judged):
    """A server that takes no pictures is not promoted; reads that are missing then void no run."""

    def change(line):
        if isinstance(line, Second) and line.endpoint.endswith("upload"):
            return replace(line, latencies={}, errors={"status_500": line.planned})
        if isinstance(line, Second) and line.endpoint == "picture_read":
            return replace(line, planned=0, latencies={}, withdrawn=line.planned)
        return line

    status, report = judged(Recorded(change=change))
    assert (status, codes(report)) == (1, set())
    [step] = report["steps"]
    assert step["withdrawn"] == step["endpoints"]["picture_read"]["withdrawn"] > 0


@pytest.mark.parametrize(
    ("code", "status"),
    [("cut_off", 1), ("server_restarted", 3), ("generator_busy", 3), ("clock_jumped", 3)],
)
def test_wrong_content_and_void(judged, code, status):
    """Wrong content counts in a run that was cut off, not in one that may have made it up."""

    def change(line):
        changed = VOID[code](line)
        return changed and wrong(changed)

    assert judged(Recorded(change=change, has_end=code != "cut_off"))[0] == status


def test_file_that_was_cut_off(tmp_path):
    """A run killed in the middle of a line is void, and its earlier lines are reported."""
    folder = Recorded().write(tmp_path / "run")
    for path in folder.glob("*.jsonl"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert gate.main([str(folder), "--accepted", str(tmp_path / "none")]) == 3
    assert json.loads((folder / "report.json").read_text())["steps"][0]["planned"] > 1000
    assert "cut off" in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        '{"kind": "second", "at": 1, "endpoint": "edit", "planned": "many"}',
        '{"kind": "second", "at": 1, "endpoint": "edit", "planned": 1, "latencies": {"100000": 1}}',
        '{"kind": "second", "at": NaN, "endpoint": "edit", "planned": 1, "latencies": {}}',
        '{"kind": "generator", "at": 1, "process": 4, "cpu": 0.1, "lag": 0}',
        '{"kind": "step", "at": 1, "users": -4, "rates": {}, "is_measured": true}',
        '{"kind": "step", "at": 1, "users": 4, "rates": null, "is_measured": true}',
        '{"kind": "what"}',
        "[]",
    ],
)
def test_records_that_are_none(tmp_path, capsys, line):
    """A record that can't be read is reported in a line, with an exit status of its own."""
    folder = Recorded(seconds=1).write(tmp_path / "run")
    (folder / "other.jsonl").write_text(line + "\n")
    assert gate.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("gate: ")
    assert error.count("\n") == 1


def test_records_of_two_runs(tmp_path, capsys):
    """A folder with the records of two runs is rejected."""
    folder = Recorded(seconds=1).write(tmp_path / "run")
    (folder / "other.jsonl").write_bytes((folder / "main.jsonl").read_bytes())
    assert gate.main([str(folder)]) == 2
    assert "it holds 2 runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("users", "message"),
    [("many", "'many' is no number"), ("0", "must be from"), ("nan", "must be from")],
)
def test_options_that_are_no_numbers(tmp_path, users, message):
    """As a command of its own, it reports a wrong number in words, with status 2."""
    command = [sys.executable, "-m", "loadtest.gate", str(tmp_path), "--users", users]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr


def test_folders_that_hold_none(tmp_path, capsys):
    """An empty folder, and a baseline, levels or costs that are absent are reported in a line."""
    assert gate.main([str(tmp_path)]) == 2
    folder = str(Recorded(seconds=1).write(tmp_path / "run"))
    (tmp_path / "text").write_text("what")
    for option in ("--baseline", "--levels", "--costs"):
        for name in ("text", "missing"):
            assert gate.main([folder, option, str(tmp_path / name)]) == 2
    assert capsys.readouterr().err.count("\n") == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("p95 = 250", "p95 = 0"), "endpoints.default.p95: must be more than 0"),
        (("p95 = 250", "p95 = true"), "endpoints.default.p95: must be a number"),
        (("p95 = 250", "p95 = 5000"), "p95 must not be more than p99"),
        (("p95 = 250", "p90 = 250"), "'p90' unknown"),
        (("p95 = 250", ""), "p95 missing"),
        (("achieved = 0.99", "achieved = 1.2"), "step.achieved: must be a number from 0 to 1"),
        (("achieved = 0.99", ""), "achieved missing"),
        (("[endpoints.dialog_open]", "[endpoints.dialog]"), "'dialog' unknown"),
        (("[step]", "[steps]"), "'steps' unknown"),
        (("[step]", "[step"), "no TOML"),
        (("[step]", "[[step]]"), "step: must be a table"),
        (("[endpoints.default]", "[[endpoints.default]]"), "endpoints.default: must be a table"),
        (("[endpoints.default]", "[[endpoints]]"), "endpoints: must be a table of tables"),
    ],
)
def test_levels_that_are_none(change, message):
    """Every mistake in the levels is reported with its place."""
    text = (gate.Path(gate.__file__).with_name("service-levels.toml")).read_text()
    assert change[0] in text
    with pytest.raises(InvalidLevels, match=re.escape(message)):
        Levels.parse(text.replace(*change, 1))


def test_levels_of_an_endpoint():
    """An endpoint has its own levels, and the default for those that it does not name."""
    levels = Levels.packaged()
    assert levels.of("launch_upload").p95 > levels.of("edit").p95 == levels.default.p95
    assert levels.of("launch_upload").error_share == levels.default.error_share


@given(
    st.lists(st.floats(1, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.95, 0.99]), st.data()
)
def test_percentiles(latencies, share, data):
    """A percentile of merged histograms is within 5 % of the exact one, and never below it."""
    cut = data.draw(st.integers(0, len(latencies)))
    merged = Counter(map(bucket, latencies[:cut])) + Counter(map(bucket, latencies[cut:]))
    exact = sorted(latencies)[math.ceil(share * len(latencies) - 1e-9) - 1]
    assert exact * (1 - 1e-9) <= percentile(merged, share) <= exact * record.BUCKET_RATIO * (1 + 1e-9)


def test_json_is_read_back(judged, tmp_path):
    """What was written as JSON can be compared with, and its shape is the documented one."""
    status, report = judged(Recorded(users=(400_000, 2_500_000)), "--users", "400000", "--accept")
    text = (tmp_path / "accepted.json").read_text()
    assert status == 0
    assert document.parse(text) == json.loads(text) == report
    pages = (gate.Path(gate.__file__).parents[2] / "docs/reference/load-report.md").read_text()
    members = {*report, *report["run"], *report["users_carried"], *report["steps"][0]}
    members |= report["steps"][0]["endpoints"]["edit"].keys()
    assert {name for name in members if f"`{name}`" not in pages} == set()
    numbers = [re.sub(r'"value": [\d.e-]+', f'"value": {other}', text) for other in ("0", "true")]
    worth = text.replace('"value"', '"worth"')
    for damaged in ("[]", "{", '{"version": 2}', '{"version": 1}', worth, *numbers):
        with pytest.raises(document.InvalidReport):
            document.parse(damaged)


def test_cost_that_is_seldom_told(judged):
    """What a request costs is in its range, also where few readings of the server are in a step."""

    def change(line):
        return None if isinstance(line, ServerSample) and line.at % 5 else line

    [step] = judged(Recorded(seconds=11, change=change))[1]["steps"]
    cost = step["seconds_per_request"]
    assert cost["low"] <= cost["value"] <= cost["high"]
    assert cost["value"] == pytest.approx(0.008, rel=0.1)


def test_same_build_is_not_called_different(judged):
    """Runs of one build differ by chance alone, and the report says so."""
    assert judged(Recorded(), "--accept")[1]["comparison"] is None
    for seed in range(2, 7):
        _, report = judged(Recorded(seed=seed))
        assert report["comparison"]["word"] == "same", report["comparison"]


@pytest.mark.parametrize(("slowness", "word"), [(1.4, "slower"), (0.7, "faster")])
def test_two_builds_are_told_apart(judged, slowness, word):
    """A build that takes longer is called slower, with the ratio of what each request costs."""
    judged(Recorded(), "--accept")
    _, report = judged(Recorded(seed=2, slowness=slowness))
    comparison = report["comparison"]
    rows = {(each["endpoint"], each["figure"]): each for each in comparison["rows"]}
    assert comparison["word"] == word
    assert rows["", "seconds_per_request"]["ratio"] == pytest.approx(slowness, rel=0.1)
    assert rows["dialog_open", "p95"]["word"] == word
    assert rows["edit", "p99"]["word"] == "few"


@pytest.mark.parametrize(("before", "now", "word"), [(1.0, 3.0, "slower"), (3.0, 1.0, "faster")])
def test_users_that_two_builds_carry(judged, before, now, word):
    """A build that fails where the other carried carries fewer users, and the report says so."""
    users = (200_000, 1_000_000)
    assert judged(Recorded(users=users, slowness=before), "--accept", "--users", "200000")[0] == 0
    _, report = judged(Recorded(users=users, slowness=now, seed=2))
    [row] = [each for each in report["comparison"]["rows"] if each["figure"] == "users_carried"]
    assert (row["word"], row["ratio"] > 1) == (word, word == "faster")


@pytest.mark.parametrize("other", [{"peak": 3.0}, {"parameters": {"url_window": 14}}])
def test_other_users_are_not_compared(judged, other):
    """As many users in their busiest hour, or who do other things, are no measure of a build."""
    judged(Recorded(), "--accept")
    _, report = judged(Recorded(slowness=1.4, run=other))
    assert (report["comparison"]["word"], report["comparison"]["rows"]) == ("unknown", [])


def test_rates_of_the_busiest_hour(tmp_path, capsys):
    """The report says in which hour the users were carried."""
    for peak, words in ((1.0, "of the mean of a day"), (3.0, "of the busiest hour, 3 times")):
        folder = Recorded(seconds=20, run={"peak": peak}).write(tmp_path / str(peak))
        assert gate.main([str(folder), "--accepted", str(tmp_path / "none")]) == 0
        assert f"Users carried: 500,000, at rates {words}" in capsys.readouterr().out
        assert f"rates {words}" in (folder / "report.html").read_text()


def test_only_a_good_run_is_accepted(judged, tmp_path):
    """A run that does not promote is never kept for comparison."""
    assert judged(Recorded(change=late), "--accept")[0] == 1
    assert not (tmp_path / "accepted.json").exists()


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_page(tmp_path):
    """The page asks for nothing, every drawing has words for it, and hostile names are text alone."""
    evil = '"><script>alert(1)</script><img src=//evil.example/x>\ud800'

    def change(line):
        if isinstance(line, Run):
            return replace(line, host=evil, shape=evil, server_version={"version": evil})
        if isinstance(line, GeneratorSample):
            return replace(line, process=line.process + evil)
        if isinstance(line, ServerSample):
            return replace(line, metrics={evil: 1.0, f'persona_proofs_total{{outcome="{evil}"}}': 1.0})
        if isinstance(line, Second) and line.endpoint == "edit":
            return replace(line, endpoint=evil, latencies={}, errors={evil: line.planned})
        if isinstance(line, Step):
            asked = {**line.rates, evil: line.rates["edit"]}
            return replace(line, rates={name: asked[name] for name in asked if name != "edit"})
        return line

    folder = Recorded(change=change).write(tmp_path / "run")
    assert gate.main([str(folder), "--accepted", str(tmp_path / "none")]) == 1
    html = (folder / "report.html").read_text()
    parsed = _Page()
    parsed.feed(html)
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"script", "img", "link", "iframe", "object", "form", "a"}
    assert not any("src" in attributes or "href" in attributes for _, attributes in parsed.tags)
    assert "<script>alert(1)</script>" in parsed.text
    assert "url(" not in html
    drawings = [attributes for tag, attributes in parsed.tags if tag == "svg"]
    assert len(drawings) > 5
    assert all("aria-label" in each or each.get("aria-hidden") == "true" for each in drawings)
    assert "Do not promote" in parsed.text


def test_page_of_a_server_that_shows_nothing(tmp_path):
    """Without readings of the server the page calls them unknown, and the run is judged."""

    def change(line):
        if isinstance(line, ServerSample):
            return replace(line, started_at=None, clock_offset=None, cores=None)
        return line

    folder = Recorded(change=change).write(tmp_path / "run")
    assert gate.main([str(folder), "--accepted", str(tmp_path / "none")]) == 0
    html = (folder / "report.html").read_text()
    assert "<strong>Unknown</strong><span>restarts of the server</span>" in html
    assert "No knee by the model: the cores of the server are unknown." in html


def test_page_of_many_errors(tmp_path):
    """The chart of errors has a line for each of the commonest codes, and one for all others."""

    def change(line):
        if isinstance(line, Second) and line.endpoint == "dialog_open":
            code = f"status_{500 + round(line.at) % 9}"
            return replace(line, latencies={}, errors={code: line.planned})
        return line

    folder = Recorded(change=change).write(tmp_path / "run")
    assert gate.main([str(folder), "--accepted", str(tmp_path / "none")]) == 1
    assert re.search(r"\d other codes", (folder / "report.html").read_text())


def test_page_of_an_impossible_instant(tmp_path):
    """A start that no calendar has is shown as unknown."""
    folder = Recorded(change=of(Run, at=1e18)).write(tmp_path / "run")
    gate.main([str(folder), "--accepted", str(tmp_path / "none")])
    assert "unknown UTC" in (folder / "report.html").read_text()
