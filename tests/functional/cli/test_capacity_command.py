from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.clients.commands import run_command

from persona_profile.capacity.page import SIZING_PAGE

ROOT = Path(__file__).parents[3]


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run `persona-profile model` to its end."""
    return run_command("model", *arguments, folder=cwd)


def test_documented_page(tmp_path):
    """The page of a million users needs no settings file, and begins as in the documentation."""
    done = run("--users", "1000000", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    [block] = re.findall(
        r"```text\n(.*?)```", (ROOT / "docs/explanation/capacity.md").read_text(), re.DOTALL
    )
    assert done.stdout.startswith(block)


def test_json():
    """The JSON output has the same values, and marks changed parameters."""
    done = run("--json", "--users", "1e5", "--launch-days", "0", "--set", "peak=4", "--cores", "2")
    document = json.loads(done.stdout)
    assert document["users"] == 100_000
    assert document["parameters"]["peak"] == {
        "value": 4,
        "unit": "times the mean",
        "meaning": "the busiest hour",
        "source": "given",
    }
    assert document["parameters"]["emails"]["source"] != "given"
    rates = document["rates_per_second"]
    assert rates["launch_upload"] == {"mean": 0, "peak": 0}
    assert rates["dialog_open"]["peak"] == pytest.approx(4 * 9.55, rel=0.01)
    assert document["users_carried"] > 0 < document["cores"]["workers"]


def test_machines():
    """The answer is in machines too: of other cores, of many users and of none; the page exists."""
    found = {
        (users, cores): json.loads(
            run("--json", "--users", users, "--set", f"machine_cores={cores}").stdout
        )["machines"]
        for users, cores in (("1e6", 4), ("1e7", 8), ("1e8", 8), ("0", 4))
    }
    assert found["1e6", 4] == {"service": 2, "database": 3}
    assert found["1e7", 8] == {"service": 5, "database": 3}
    assert found["1e8", 8] == {"service": 40, "database": 21}
    assert found["0", 4] == {"service": 2, "database": 3}
    page, _, heading = SIZING_PAGE.partition("#")
    assert f"## {heading.capitalize()}\n" in (ROOT / page).read_text()


def test_costs_of_another_machine(tmp_path):
    """Costs that were measured elsewhere take the place of ours: thrice the time, thrice the cores."""
    costs = json.loads((ROOT / "persona_profile" / "capacity" / "costs.json").read_text())
    for each in (*costs["activities"].values(), *costs["uploads"].values()):
        each["service_seconds"] *= 3
    (tmp_path / "costs.json").write_text(json.dumps(costs))
    ours = json.loads(run("--json").stdout)
    theirs = json.loads(run("--json", "--costs", "costs.json", cwd=tmp_path).stdout)
    assert theirs["cores"]["service"] == pytest.approx(3 * ours["cores"]["service"], rel=0.01)
    assert theirs["cores"]["workers"] == ours["cores"]["workers"]


@pytest.mark.parametrize("ending", ["svg", "png"])
def test_plot(tmp_path, ending):
    """A chart is drawn, the same each time, with every activity named in it."""
    files = [tmp_path / f"{number}.{ending}" for number in range(2)]
    for file in files:
        done = run("--plot", str(file))
        assert (done.returncode, done.stderr) == (0, "")
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith(b"<?xml" if ending == "svg" else b"\x89PNG")
    if ending == "svg":
        for label in (b"dialog open", b"export, erase", b"picture workers", b"active users"):
            assert b"<!-- " + label + b" -->" in first


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--users", "many"], "must be a number"),
        (["--users", "-5"], "must be a number from 0"),
        (["--users", "nan"], "must be a number from 0"),
        (["--set", "peak"], "must be NAME=VALUE"),
        (["--set", "peak=inf"], "must be a number from 0"),
        (["--set", "peek=3"], "'peek': there is no such parameter"),
        (["--set", "heic_share=0.5"], "must have the sum 1"),
        (["--set", "machine_cores=0"], "machine_cores: must be"),
        (["--launch-days", "-1"], "must be a number from 0"),
        (["--cores", "0"], "cores: must be"),
        (["--costs", "absent.json"], "absent.json: No such file"),
        (["--costs", "setup.py"], "setup.py: this is no JSON"),
        (["--plot", "chart.gif"], "must end in .svg or .png"),
        (["--users", "0", "--plot", "chart.svg"], "--plot needs users"),
    ],
)
def test_wrong_usage(arguments, message):
    """Impossible parameters are reported in words, with status 2."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_costs_that_are_no_text(tmp_path):
    """A file of costs that is no UTF-8 is reported by name, with status 2."""
    (tmp_path / "costs.json").write_bytes(b"\xff\xfe")
    done = run("--costs", "costs.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "costs.json: this is no UTF-8" in done.stderr


def test_page_without_a_launch():
    """Without a launch the page has one column of requests; with cores it names the users carried."""
    done = run("--launch-days", "0", "--cores", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^2 cores without the database carry [\d,]+ users$", done.stdout, re.MULTILINE)
    assert "afterwards" not in done.stdout
    assert "afterwards" in run().stdout


def test_plot_that_can_not_be_written():
    """A file that can't be written is reported, with status 1."""
    done = run("--plot", "/proc/chart.svg")
    assert done.returncode == 1
    assert "/proc/chart.svg: " in done.stderr
    assert "Traceback" not in done.stderr
