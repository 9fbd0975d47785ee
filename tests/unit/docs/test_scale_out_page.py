"""The guide to scaling out agrees with the capacity model and the shipped files."""

from __future__ import annotations

import re
import subprocess

import pytest
from support import ROOT

from persona_profile.capacity.costs import Costs
from persona_profile.capacity.model import UPLOADS, Parameters, demand

PAGE = (ROOT / "docs/how-to/scale-out.md").read_text()

WINDOWS_SECONDS = 120
CLIENT_BYTES = 400
"""Redis' bytes per client for two windows of a minute."""


def short(value: float) -> str:
    """Return a number with two digits."""
    rounded = float(f"{value:.1e}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"


def size(value: float) -> str:
    """Return bytes with a unit and two digits."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if float(f"{value:.1e}") >= factor:
            return f"{short(value / factor)} {unit}"
    raise AssertionError(value)


def rows(users: float) -> tuple[str, str]:
    """Return the rows of both tables for a number of users."""
    parameters = Parameters()
    need = demand(parameters, Costs.measured(), users)
    rates = need.peak_rates
    uploads = sum(rates[each] for each in UPLOADS)
    clients = (rates["dialog_open"] + rates["picture_read"]) * WINDOWS_SECONDS
    requests = [
        f"{users / 1e6:g} million",
        short(sum(rates.values())),
        short(need.statements),
        short(rates["dialog_open"] * parameters.emails),
        short(uploads),
        f"{size(need.ingress)}/s",
        f"{size(need.egress)}/s",
    ]
    machines = [
        f"{users / 1e6:g} million",
        short(need.cores.service),
        short(need.cores.workers),
        short(need.cores.database),
        size(need.stored_bytes),
        size(clients * CLIENT_BYTES),
    ]
    return f"| {' | '.join(requests)} |", f"| {' | '.join(machines)} |"


@pytest.mark.parametrize("users", [1e6, 1e7, 1e8])
def test_sizing_tables(users):
    """The sizing tables agree with the capacity model."""
    lines = PAGE.splitlines()
    for row in rows(users):
        assert row in lines


def test_nginx_commands(tmp_path):
    """The guide's commands put both machines into nginx's configuration and change nothing else."""
    [block] = [each for each in re.findall("```sh\n(.*?)```", PAGE, re.DOTALL) if "upstream" in each]
    commands = block.replace("/etc/nginx", str(tmp_path))
    subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=ROOT, check=True)
    made = (tmp_path / "nginx.conf").read_text()
    shipped = (ROOT / "deploy" / "nginx.conf").read_text()
    [(before, after)] = re.findall(
        r"(.*?)^    upstream persona_profile \{.*?^    \}\n(.*)", shipped, re.DOTALL | re.MULTILINE
    )
    assert made == before + (tmp_path / "upstream").read_text() + after
    assert set(re.findall(r"^        server ([\d.:]+)", made, re.MULTILINE)) == {
        "10.0.0.21:6543",
        "10.0.0.22:6543",
    }


@pytest.mark.parametrize(
    ("page", "name"),
    [
        ("scale-out.md", "cluster/service.ini"),
        ("scale-out.md", "cluster/galera.cnf"),
        ("scale-out.md", "cluster/upstream.conf"),
        ("shards.md", "sharded/data.cnf"),
        ("shards.md", "sharded/head.cnf"),
    ],
)
def test_places_are_filled(page, name):
    """The guides' commands fill all placeholders of the shipped files."""
    places = set(re.findall("@[A-Z]+[0-9]?@", (ROOT / "deploy" / name).read_text()))
    text = (ROOT / "docs" / "how-to" / page).read_text()
    command = re.findall(rf"^sed (?:.*\\\n)*.*deploy/{re.escape(name)}.*$", text, re.MULTILINE)
    assert set(re.findall("@[A-Z]+[0-9]?@", "".join(command))) == places
