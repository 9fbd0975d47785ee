"""What a load test is going to do, before anything is asked of a server."""

import argparse
import itertools
import os
import time

import gevent
import pytest
from support.servers.applications import Clock

from loadtest import identities, run
from loadtest.generator import conductor as conductor_module
from loadtest.generator.conductor import Conductor
from loadtest.generator.options import InvalidOptions, add_arguments, checked, is_loopback
from loadtest.generator.pacer import Pacer
from loadtest.generator.plan import Plan
from loadtest.generator.stages import Lengths, stages
from loadtest.generator.tally import Tally
from loadtest.generator.watcher import ProcessFamily, samples
from loadtest.record import Second, Step, Writer, bucket, read
from persona_profile.capacity.model import ACTIVITIES, UPLOADS, Parameters, rates

MIX = rates(Parameters(edits=500, exports=300, erases=10, replacements=300), 1000)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Some users."""
    return identities.make(tmp_path_factory.mktemp("people"), users=40, pool=1, shares={"RS256": 100})


def options(*arguments, host="http://localhost:1"):
    """Return what is asked for by some arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default=host)
    add_arguments(parser)
    return checked(parser.parse_args(arguments))


def drawn(plan, count=2000):
    """Return the first arrivals."""
    return list(itertools.islice(plan.arrivals(MIX), count))


def test_same_seed_gives_same_users_and_pictures(people):
    """The whole sequence follows from the seed, and another seed gives another."""
    first, again, other = (Plan(people, seed, 0, 1) for seed in (5, 5, 6))
    assert first.prepared == again.prepared
    found = drawn(first)
    assert found == drawn(again) != drawn(other)


def test_rates_alone_do_not_change_the_sequence(people):
    """More users come faster, and are the same ones in the same order."""
    twice = {name: 2 * rate for name, rate in MIX.items()}
    assert drawn(Plan(people, 5, 0, 1), 500) == list(
        itertools.islice(Plan(people, 5, 0, 1).arrivals(twice), 500)
    )


def test_workers_share_neither_users_nor_pictures(people):
    """No two of them act as the same user or upload the same picture."""
    plans = [drawn(Plan(people, 5, worker, 3)) for worker in range(3)]
    for one, two in itertools.combinations(plans, 2):
        assert not {each.user for each in one} & {each.user for each in two}
        pictures = [{each.picture for each in plan if each.picture is not None} for plan in (one, two)]
        assert not pictures[0] & pictures[1]


def test_what_is_asked_for_is_there(people):
    """Pictures are read, replaced and taken away only where the plan has put one before."""
    plan = Plan(people, 5, 0, 1)
    held = {place for place, _ in plan.prepared}
    for arrival in drawn(plan, 5000):
        place = (arrival.user, arrival.email)
        if arrival.activity in {"picture_read", "replacement", "export", "erase"}:
            assert place in held
        if arrival.activity in UPLOADS:
            held.add(place)
        if arrival.activity == "erase":
            held.remove(place)


def test_mix_is_that_of_the_rates(people):
    """Every activity comes as often as its rate says, within five standard deviations."""
    count = 20_000
    found = [each.activity for each in drawn(Plan(people, 5, 0, 1), count)]
    whole = sum(MIX.values())
    for activity in ACTIVITIES:
        expected = count * MIX[activity] / whole
        assert abs(found.count(activity) - expected) <= 5 * expected**0.5


def test_arrivals_do_not_wait_for_answers(people):
    """With answers that never come, as many start as were planned, at the instants planned."""
    tally = Tally(lambda *_: None)
    started = []
    pacer = Pacer(lambda _arrival, planned_at: started.append(planned_at), tally)
    begin = time.time()
    pacer.change(begin, 400)

    def arrivals():
        for number, arrival in enumerate(Plan(people, 5, 0, 1).arrivals(MIX)):
            if number == 200:
                pacer.end()
            yield arrival

    pacer.run(arrivals())
    gaps = [each.gap for each in drawn(Plan(people, 5, 0, 1), 200)]
    expected = [begin + gap / 400 for gap in itertools.accumulate(gaps)]
    while len(started) < 199:  # each has a greenlet of its own
        gevent.sleep(0)
    for planned_at, instant in zip(started, expected, strict=False):
        assert abs(planned_at - instant) < 0.05
    assert tally.in_flight == len(started)


@pytest.mark.parametrize("growth", [1.2, 2])
@pytest.mark.parametrize("knee", [1000, 5600, 16_000])
def test_steps_find_the_knee(knee, growth):
    """Whatever the knee is, the last steps have it between them, ten percent apart."""
    carried, broken, at = 0.0, float("inf"), [0.0]

    def met():
        return at[0] <= knee

    for stage in stages("steps", 800, Lengths(1, 10), max_steps=20, growth=growth, met=met):
        if stage.is_measured:
            at[0] = stage.users
            if met():
                carried = max(carried, stage.users)
            else:
                broken = min(broken, stage.users)
    assert carried <= knee < broken
    assert broken - carried <= 0.1 * broken


def test_spike_is_twice_and_back():
    """A spike doubles the users and takes them away again."""
    found = stages("spike", 100, Lengths(1, 10), max_steps=1, growth=2, met=lambda: True)
    assert [stage.users for stage in found if stage.is_measured] == [100, 200, 100]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shape=smoke"], "--host"),
        (["--model-set=edits"], "NAME=VALUE"),
        (["--model-set=edit=1"], "no such parameter"),
        (["--measured=0"], "--measured"),
        (["--max-steps=0"], "--max-steps"),
        (["--growth=1"], "--growth"),
        (["--users-active=nan"], "--users-active"),
        (["--users-active=1e16"], "--users-active"),
        (["--host=http://192.0.2.1"], "not this machine"),
        (["--host=127.0.0.1:80"], "must be an origin"),
        (["--audience=http://a.example/b"], "--audience: must be an origin"),
        (["--audience=http://a.example:x"], "--audience: must be an origin"),
        (["--audience=http://[::1"], "--audience: must be an origin"),
    ],
)
def test_mistakes_are_told(arguments, message):
    """An option that can't be used is named."""
    with pytest.raises(InvalidOptions, match=message):
        options(*arguments, host=None if message == "--host" else "http://localhost:1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["promote", "--host=http://192.0.2.1", "--users=1e6"], "not this machine"),
        (["promote", "--host=http://127.0.0.1", "--users=nan"], "--users-active"),
        (["smoke", "--", "--model-set=nonsense=1"], "no such parameter"),
    ],
)
def test_mistakes_are_told_first(tmp_path, capsys, arguments, message):
    """A wrong command is rejected with status 2, before any file is made."""
    command, *more = arguments
    assert run.main([command, f"--folder={tmp_path}", *more]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_busiest_hour():
    """Rates are those of the mean of a day, or of the busiest hour as the model has it."""
    assert options().peak == 1
    assert options("--at-peak").peak == Parameters().peak
    assert options("--at-peak", "--model-set=peak=5").peak == 5


def test_users_that_can_not_be_prepared(tmp_path, monkeypatch):
    """A run ends if a worker fails to prepare its users, or takes too long."""
    for failure in ("a reason", None):
        conductor = Conductor(options(), Writer(tmp_path, "leader"), lambda *_: None)
        conductor.begin(1, {})
        assert conductor.tick()
        if failure:
            conductor.hear_ready("worker-0", failure)
        else:
            monkeypatch.setattr(conductor_module, "PREPARATION", -1.0)
            assert conductor.tick()
        assert not conductor.tick()
        assert conductor.failure == failure or "took too long" in conductor.failure
        conductor.close(is_complete=False)


@pytest.mark.parametrize(
    ("right", "in_flight", "overdue"), [(100, 0, 0), (50, 0, 0), (100, 10_000, 0), (100, 0, 1)]
)
def test_steps_follow_the_answers(tmp_path, monkeypatch, right, in_flight, overdue):
    """A larger step follows right answers, a smaller one errors, unanswered requests, late uploads."""
    clock = Clock(1_000_000.0)
    monkeypatch.setattr(time, "time", clock)
    steps = options(
        "--shape=steps", "--users-active=1000", "--warm-up=1", "--measured=3", "--max-steps=2"
    )
    sent = []
    conductor = Conductor(steps, Writer(tmp_path, "leader"), lambda *message: sent.append(message))
    conductor.begin(1, {})
    conductor.hear_ready("worker-0", None)
    goes_on = True
    while goes_on:
        clock.now += 1
        second = Second(
            clock.now - 1, "dialog_open", 100, {bucket(10): right}, {"status_500": 100 - right}
        )
        conductor.hear("worker-0", in_flight, overdue, [second])
        goes_on = conductor.tick()
    conductor.close(is_complete=True)
    first, second = [
        line.users for line in read(tmp_path) if isinstance(line, Step) and line.is_measured
    ]
    assert first == 1000
    assert (second > first) == (right == 100 and not in_flight and not overdue)
    assert (("finish", {}) in sent) == bool(in_flight)


def test_days_of_a_launch():
    """The shape of a launch has days in which users upload; an assignment changes their number."""
    assert options().parameters.launch_days != options("--shape=launch").parameters.launch_days > 0
    assert options("--shape=launch", "--model-set=launch_days=2").parameters.launch_days == 2


@pytest.mark.parametrize(
    ("host", "is_this_machine"), [("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("", False)]
)
def test_only_loopback_is_this_machine(host, is_this_machine):
    """Any other address belongs to somebody."""
    assert is_loopback(host) == is_this_machine


def test_figures_of_an_exposition_are_read():
    """Names keep their labels; comments, buckets and what is no number are left away."""
    text = (
        '# HELP a b\nh_bucket{le="1"} 4\na_total{x="1 2",y="}"} 3\n'
        "plain 1.5e3\nodd nonsense\nat 1 1700000000\n"
    )
    assert samples(text) == {'a_total{x="1 2",y="}"}': 3.0, "plain": 1500.0, "at": 1.0}


def test_processes_are_measured_with_their_children():
    """This process has had some time and memory; there is no process 0."""
    found = ProcessFamily.of(os.getpid())
    assert found is not None
    assert found.cpu_seconds > 0
    assert found.resident_bytes > 10_000_000
    assert ProcessFamily.of(2**22 + 1) is None
