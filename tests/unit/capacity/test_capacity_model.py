import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_profile.capacity.costs import PICTURE_KINDS, Cost, Costs, InvalidCosts
from persona_profile.capacity.model import (
    ACTIVITIES,
    MEANINGS,
    InvalidParameters,
    Parameters,
    demand,
    knee,
    original_rates,
    rates,
    users_carried,
)
from persona_profile.capacity.page import Page, text
from persona_profile.capacity.units import rounded

ROOT = Path(__file__).parents[3]
COSTS = Costs.measured()
MILLION = 1_000_000

positive = st.floats(1e-3, 1e3)
parameters = st.builds(
    Parameters,
    emails=positive,
    devices=positive,
    sign_ins=positive,
    replacements=positive,
    launch_days=st.just(0.0) | positive,
    url_window=positive,
    peak=positive,
    target_utilisation=st.floats(0.01, 1),
)


def test_original():
    """The six numbers that "Scaling to 1M" published for a million users, and their sum, come out."""
    found = original_rates(MILLION)
    assert {name: round(rate, 2) for name, rate in found.items()} == {
        "signup": 2.10,
        "reset_pass": 0.42,
        "add_email": 0.84,
        "reauth": 1.68,
        "signin": 93.93,
        "include_only": 364.0,
    }
    assert sum(found.values()) == pytest.approx(462.96, abs=0.005)


def test_rates_of_a_million():
    """Ours are those of the model on paper, by activity."""
    found = rates(Parameters(), MILLION)
    assert found.keys() == set(ACTIVITIES) == MEANINGS.keys()
    assert found["dialog_open"] == pytest.approx(MILLION * (8 + 1 / 7 + 1 / 14 + 1 / 28) / 86_400)
    assert found["dialog_open"] == pytest.approx(95.5, abs=0.05)
    assert found["first_upload"] == pytest.approx(0.165, abs=0.001)
    assert found["replacement"] == pytest.approx(0.063, abs=0.001)
    assert found["launch_upload"] == pytest.approx(0.83, abs=0.005)
    assert found["picture_read"] == pytest.approx(46.3, abs=0.05)
    two_weeks = rates(Parameters(url_window=14), MILLION)
    assert two_weeks["picture_read"] == pytest.approx(3.3, abs=0.01)


def test_signup_is_a_twentyfifth():
    """New users are a twenty-fifth of the original's, in which the growth divides."""
    new_users = rates(Parameters(), MILLION)["first_upload"] / Parameters().emails
    whole = 28 * 0.2 * 86_400 / MILLION
    assert 1 / whole / new_users == pytest.approx(25)


def test_launch():
    """Without a launch nothing else changes, and no more is stored in the end."""
    with_launch = demand(Parameters(launch_days=7), COSTS, MILLION)
    without = demand(Parameters(launch_days=0), COSTS, MILLION)
    assert with_launch.mean_rates["launch_upload"] == pytest.approx(2 * MILLION / 7 / 86_400)
    differing = {
        name
        for name in ACTIVITIES
        if with_launch.mean_rates[name] != pytest.approx(without.mean_rates[name])
    }
    assert differing == {"launch_upload"}
    assert with_launch.stored_bytes == without.stored_bytes


def flat_costs(seconds: float) -> Costs:
    """Return costs by which each request takes the same of everything."""
    each = Cost(seconds, 2 * seconds, 4 * seconds, 3, 100, 200)
    activities = dict.fromkeys(("dialog_open", "picture_read", "edit", "export", "erase"), each)
    return Costs("nowhere", activities, dict.fromkeys(PICTURE_KINDS, each), 1000, 24, 1.5)


def test_demand_by_hand():
    """Cores, statements, bytes in and out and stored are what one computes by hand."""
    simple = Parameters(launch_days=0, peak=2, target_utilisation=0.5, overhead_bytes=10)
    found = demand(simple, flat_costs(0.01), MILLION)
    at_peak = 2 * sum(rates(simple, MILLION).values())
    uploads = 2 * sum(rates(simple, MILLION)[name] for name in ("first_upload", "replacement"))
    assert sum(found.peak_rates.values()) == pytest.approx(at_peak)
    assert found.cores == pytest.approx((at_peak * 0.02, at_peak * 0.04, at_peak * 0.08))
    assert found.statements == pytest.approx(3 * at_peak)
    assert found.ingress == pytest.approx((at_peak - uploads) * 110 + uploads * (5.7e6 + 10))
    assert found.egress == pytest.approx(at_peak * 210)
    assert found.sealed_bytes == pytest.approx(2 * MILLION * 1024)
    assert found.stored_bytes == pytest.approx(2 * MILLION * 1536)


def test_costs_of_uploads_follow_the_mix():
    """An upload costs the mean of its kinds, by their shares."""
    of_kind = {kind: Cost(number, 0, 0, 0, 0, 0) for number, kind in enumerate(PICTURE_KINDS)}
    costs = dataclasses.replace(flat_costs(1), uploads=of_kind)
    mix = dict(zip(PICTURE_KINDS, (0.5, 0.25, 0.25, 0, 0), strict=True))
    assert costs.of("first_upload", mix).service_seconds == 0.75
    assert costs.of("edit", mix).service_seconds == 1


@given(parameters, st.floats(1, 1e9), st.floats(0.1, 100))
def test_linear_in_users(some, users, factor):
    """Twice the users make twice the requests, cores, traffic and storage."""
    one, more = demand(some, COSTS, users), demand(some, COSTS, users * factor)
    for name in ACTIVITIES:
        assert more.peak_rates[name] == pytest.approx(one.peak_rates[name] * factor)
    assert more.cores == pytest.approx([each * factor for each in one.cores])
    assert more.ingress == pytest.approx(one.ingress * factor)
    assert more.egress == pytest.approx(one.egress * factor)
    assert more.stored_bytes == pytest.approx(one.stored_bytes * factor)


@given(parameters, st.floats(0.1, 1e4), st.booleans())
def test_inverse(some, cores, with_database):
    """The users that some cores carry need just those cores."""
    users = users_carried(cores, some, COSTS, with_database=with_database)
    needed = demand(some, COSTS, users).cores
    assert (sum(needed) if with_database else needed.server) == pytest.approx(cores)


@given(parameters, st.integers(1, 64), st.integers(1, 64))
def test_interpreters_limit(some, cores, processes):
    """A process never gets more than one core but for pictures; more processes never carry less."""
    users = users_carried(cores, some, COSTS, processes=processes)
    needed = demand(some, COSTS, users).cores
    assert needed.service <= processes * (1 + 1e-9)
    assert needed.server <= cores * (1 + 1e-9)
    assert users_carried(cores, some, COSTS, processes=processes + 1) >= users
    assert users <= users_carried(cores, some, COSTS)


@given(parameters)
def test_knee(some):
    """The knee lies peak / utilisation above the users carried: a steady load, to the last core."""
    carried = users_carried(2, some, COSTS, processes=1)
    assert knee(2, some, COSTS, processes=1) == pytest.approx(
        carried * some.peak / some.target_utilisation
    )


@given(parameters, st.floats(0.5, 60), st.booleans())
def test_uploads_break_first(some, seconds, with_database):
    """At the knee 95 of 100 uploads end just in time, by what the rest leaves of the cores."""
    full = knee(2, some, COSTS, with_database=with_database)
    users = knee(2, some, COSTS, with_database=with_database, upload_seconds=seconds)
    assert (
        users <= knee(2, some, COSTS, with_database=with_database, upload_seconds=2 * seconds) <= full
    )
    steady = some.changed({"peak": 1, "target_utilisation": 1})
    used = demand(steady, COSTS, users)
    left = 2 - used.cores.service - (used.cores.database if with_database else 0)
    work = COSTS.of("first_upload", steady.mix).worker_seconds
    load = used.cores.workers / left
    if 0 < users < full:
        assert math.log(20) * work / min(1, left) / (1 - load) == pytest.approx(seconds, rel=1e-3)


def test_uploads_that_nobody_makes():
    """Without uploads the knee is where all cores are in use."""
    nobody = Parameters(launch_days=0, growth=0, replacements=0)
    assert knee(1, nobody, COSTS, upload_seconds=5) == knee(1, nobody, COSTS)


@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_seconds_of_uploads(seconds):
    """A time that no upload can meet is rejected."""
    with pytest.raises(InvalidParameters, match="upload_seconds: must be at least"):
        knee(1, Parameters(), COSTS, upload_seconds=seconds)


def test_nothing_costs_nothing():
    """Requests that cost nothing are carried for any number of users."""
    assert users_carried(1, Parameters(), flat_costs(0)) == math.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"peek": 3}, "'peek': there is no such parameter"),
        ({"peak": math.nan}, "peak: must be"),
        ({"peak": math.inf}, "peak: must be"),
        ({"peak": 0}, "peak: must be"),
        ({"url_window": 1e-300}, "url_window: must be"),
        ({"launch_days": 1e-300}, "launch_days: must be"),
        ({"emails": -1}, "emails: must be"),
        ({"target_utilisation": 1.1}, "target_utilisation: must be at most 1"),
        ({"picture_share": 2}, "picture_share: must be at most 1"),
        ({"heic_share": 0.5}, "must have the sum 1"),
    ],
)
def test_wrong_parameters(changes, message):
    """Impossible parameters are rejected by name."""
    with pytest.raises(InvalidParameters, match=message):
        Parameters().changed(changes)


@pytest.mark.parametrize("users", [-1, math.nan, math.inf])
def test_wrong_users(users):
    """There are no such numbers of users, nor of cores."""
    with pytest.raises(InvalidParameters, match="users"):
        rates(Parameters(), users)
    with pytest.raises(InvalidParameters, match="cores"):
        users_carried(users, Parameters(), COSTS)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (math.inf, "any number of"), (1234.5, "1,200"), (1e16, "1.0e+16"), (1e-7, "1.0e-07")],
)
def test_numbers_of_a_page(value, shown):
    """Numbers are rounded, and written with an exponent if they are very large or small."""
    assert rounded(value) == shown


def test_every_parameter_says_what_it_is():
    """Each has a unit, a meaning and a source, which the command prints."""
    page = text(Page(MILLION, Parameters(), COSTS, frozenset(), None))
    for each in dataclasses.fields(Parameters):
        assert each.metadata["unit"]
        assert f"{each.metadata['meaning']} [{each.metadata['source']}]" in page
        assert each.name in page


MEASURED = json.loads((ROOT / "persona_profile" / "capacity" / "costs.json").read_text())


def changed(path: str, value: object) -> str:
    """Return the measured costs with another value at a place; none removes it."""
    document = json.loads(json.dumps(MEASURED))
    *parents, name = path.split(".")
    place = document
    for each in parents:
        place = place[each]
    if value is None:
        del place[name]
    else:
        place[name] = value
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "must be an object"),
        (changed("activities", None), "activities missing"),
        (changed("activities.edit", 5), "activities.edit: must be an object"),
        (changed("activities.dance", {}), "activities: 'dance' unknown"),
        (changed("uploads.heic.worker_seconds", None), "uploads.heic: worker_seconds missing"),
        (changed("uploads.heic.worker_seconds", -1), "uploads.heic.worker_seconds: must be"),
        (changed("uploads.heic.worker_seconds", math.nan), "uploads.heic.worker_seconds: must be"),
        (changed("uploads.heic.worker_seconds", 10**400), "uploads.heic.worker_seconds: must be"),
        (changed("uploads.heic.worker_seconds", "1"), "uploads.heic.worker_seconds: must be a number"),
        (changed("stored_bytes.profile", True), "stored_bytes.profile: must be a number"),
        (changed("measured_on", "\x1b[2J"), "measured_on: must be"),
    ],
)
def test_wrong_costs(text, message):
    """Costs of another form are rejected, with the place."""
    with pytest.raises(InvalidCosts, match=message):
        Costs.parse(text)


def test_standard_library_alone():
    """The model runs without any other package."""
    code = (
        "import persona_profile.capacity.model as m; print(m.rates(m.Parameters(), 1e6)['dialog_open'])"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(95.5, abs=0.05)
