"""What attacks of one address do to others: their success, their waiting, and the service's resources.

Each attack comes from one address over up to 100 connections, for some seconds. Before it the same
others ask the same service without an attack ("quiet"). Others sign in with a pinned, a cached and a
fresh domain, read profiles, fetch pictures and upload, at fixed rates, each from an address of its own.
The service runs as shipped: `production.ini`, `nginx.conf`, limits on, MariaDB, the network of
attack_stage.py. Each attack meets a new service, once behind nginx and once without it ("alone").

Goals behind nginx: 99 of 100 requests of others succeed (uploads and fresh domains: 90), and the p99 of
each kind is at most 5 times that of the quiet. The exit status is 1 if one is missed.

All share the cores of this machine: the service, nginx, MariaDB, others, and the attacker at low
priority (nice 10), as its own work belongs to another machine.

    python benchmarks/attacks.py [--attack NAME]... [--target nginx|alone] [--seconds N] [--json FILE]
    python benchmarks/attacks.py --page docs/attacks.md
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from attack_list import ATTACKS
from attack_others import LEAST_SUCCESS, RATES, Community, Others, Sample
from attack_providers import attackers_key, good_key, serve_attackers_providers, serve_providers
from attack_stage import (
    PINNED,
    Stage,
    database,
    enter_network,
    make_certificates,
    prepare_network,
)
from attacking import perform
from support.identities import dsa_key, support_document

TARGETS = ("nginx", "alone")
MOST_RATIO = 5.0
QUIET_SECONDS = 10.0
MEASURED = "<!-- measured -->"
_COLUMNS = (
    "attack",
    "least success of a kind",
    "p99 over the quiet, worst kind",
    "cores",
    "MiB",
    "spooled MiB",
    "what the attacker gets",
    "goals",
)
_FORK = multiprocessing.get_context("fork")
_LOOK_SECONDS = 0.5
_READY_SECONDS = 120


@dataclass(frozen=True)
class Kind:
    """What became of one kind of others' requests.

    Attributes:
        count: of requests.
        success: the share that succeeded.
        p99: seconds, of those that succeeded; none if none did.
    """

    count: int
    success: float
    p99: float | None

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Kind:
        """Judge requests of one kind."""
        well = sorted(each.seconds for each in samples if each.succeeded)
        p99 = well[math.ceil(0.99 * len(well)) - 1] if well else None
        return cls(len(samples), len(well) / len(samples) if samples else 0.0, p99)


@dataclass(frozen=True)
class Result:
    """What an attack did.

    Attributes:
        quiet: samples before the attack.
        attacked: samples during the attack.
        cores: that the service used during the attack.
        mebibytes: of the service at most, pages that processes share counted for each.
        spooled_mebibytes: that nginx stored at most.
        answers: what the attacker got, counted.
    """

    attack: str
    target: str
    quiet: list[Sample]
    attacked: list[Sample]
    cores: float
    mebibytes: float
    nginx_cores: float
    nginx_mebibytes: float
    spooled_mebibytes: float
    answers: Mapping[str, int]


def kinds(samples: Iterable[Sample]) -> dict[str, Kind]:
    """Judge requests by their kind."""
    ordered = list(samples)
    return {kind: Kind.of([each for each in ordered if each.kind == kind]) for kind in RATES}


def _observe(stage: Stage, until: float) -> dict[str, float]:
    """Look at the service and nginx until an instant; return what they used."""
    began, service, nginx = time.monotonic(), stage.service(), stage.nginx()
    most = {"mebibytes": 0.0, "nginx_mebibytes": 0.0, "spooled_mebibytes": 0.0}
    while time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        most["mebibytes"] = max(most["mebibytes"], stage.service().resident_bytes / 2**20)
        if found := stage.nginx():
            most["nginx_mebibytes"] = max(most["nginx_mebibytes"], found.resident_bytes / 2**20)
            spooled = stage.spooled_bytes() / 2**20
            most["spooled_mebibytes"] = max(most["spooled_mebibytes"], spooled)
    seconds = time.monotonic() - began
    most["cores"] = (stage.service().cpu_seconds - service.cpu_seconds) / seconds
    after = stage.nginx()
    most["nginx_cores"] = (after.cpu_seconds - nginx.cpu_seconds) / seconds if after and nginx else 0.0
    return most


def measure(
    stage: Stage, name: str, number: int, community: Community, quiet_seconds: float, seconds: float
) -> Result:
    """Run one attack on a new service, after a quiet time."""
    attack, target = ATTACKS[name], stage.target
    office = f"185.12.{number}.1" if attack.shares_office else None
    with stage.running():
        others = Others(target, community, office)
        others.warm_up()
        ready, go = _FORK.Event(), _FORK.Event()
        heard, attackers = _FORK.Pipe(duplex=False)
        told, others_end = _FORK.Pipe(duplex=False)
        until = _FORK.Value("d", math.inf)

        def attacking() -> None:
            attackers.send(perform(attack, target, number, until, ready, go))
            os._exit(0)  # with threads that may hang

        def asking(end: float) -> None:
            others_end.send(others.run(end))

        attacker = _FORK.Process(target=attacking)
        attacker.start()
        if not ready.wait(_READY_SECONDS):
            attacker.kill()
            raise RuntimeError(f"{name} is not ready")
        start = time.monotonic() + quiet_seconds
        until.value = start + seconds
        people = _FORK.Process(target=asking, args=(until.value,))
        people.start()
        time.sleep(start - time.monotonic())
        go.set()
        used = _observe(stage, until.value)
        samples = told.recv() if told.poll(60) else []
        answers = heard.recv() if heard.poll(30) else {}
        for process in (people, attacker):
            process.join(5)
            if process.is_alive():
                process.kill()
    quiet = [each for each in samples if each.began + each.seconds < start]
    attacked = [each for each in samples if each.began >= start]
    return Result(name, target.name, quiet, attacked, answers=dict(answers), **used)


@contextmanager
def providers(authority):
    """Serve identity providers, good ones and the attacker's, in processes of their own."""
    good_key(), attackers_key(), dsa_key("person"), dsa_key("mallory")
    processes = [
        _FORK.Process(target=serve, args=(authority,), daemon=True)
        for serve in (serve_providers, serve_attackers_providers)
    ]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join(10)


def ratios(now: Mapping[str, Kind], quiet: Mapping[str, Kind]) -> dict[str, float]:
    """Return the p99 of each kind over that of the quiet."""
    return {
        kind: each.p99 / reference
        for kind, each in now.items()
        if each.p99 is not None and (reference := quiet[kind].p99)
    }


def missed(now: Mapping[str, Kind], quiet: Mapping[str, Kind]) -> list[str]:
    """Return which goals an attack keeps from others, in words."""
    found = [
        f"{kind}: {each.success:.0%} succeed"
        for kind, each in now.items()
        if each.count and each.success < LEAST_SUCCESS[kind]
    ]
    return found + [
        f"{kind}: p99 x {ratio:.1f}" for kind, ratio in ratios(now, quiet).items() if ratio > MOST_RATIO
    ]


def _row(result: Result, quiet: Mapping[str, Kind]) -> str:
    now = kinds(result.attacked)
    kind, success = min(((kind, each.success) for kind, each in now.items()), key=lambda pair: pair[1])
    slow, ratio = max(ratios(now, quiet).items(), key=lambda pair: pair[1], default=("none", math.nan))
    answers = sorted(result.answers.items(), key=lambda pair: -pair[1])[:3]
    cells = [
        f"`{result.attack}`: {ATTACKS[result.attack].text}",
        "all" if success == 1 else f"{success:.0%} ({kind})",
        f"{ratio:.1f} ({slow})",
        f"{result.cores:.2f}",
        f"{result.mebibytes:.0f}",
        f"{result.spooled_mebibytes:.0f}" if result.target == "nginx" else "",
        ", ".join(f"{count} x {answer}" for answer, count in answers) or "nothing",
        "missed" if missed(now, quiet) else "met",
    ]
    return f"| {' | '.join(cells)} |"


def table(results: Sequence[Result]) -> str:
    """Return the tables of the documentation: one of each target, and one of the quiet."""
    quiet = {
        target: kinds(sample for each in results if each.target == target for sample in each.quiet)
        for target in TARGETS
    }
    lines = ["## Quiet", "", "The p99 without an attack, in milliseconds.", ""]
    lines += ["| kind | through nginx | alone |", "|---|---|---|"]
    for kind in RATES:
        found = [quiet[target][kind].p99 for target in TARGETS]
        lines.append(f"| {kind} | {' | '.join(f'{1000 * p99:.0f}' if p99 else '' for p99 in found)} |")
    for target, title in zip(TARGETS, ("Through nginx", "The service alone"), strict=True):
        lines += ["", f"## {title}", "", f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
        lines += [_row(each, quiet[target]) for each in results if each.target == target]
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> list[dict[str, object]]:
    """Return what JSON holds of each attack."""
    found = []
    for each in results:
        same = [other for other in results if other.target == each.target]
        quiet = kinds(sample for other in same for sample in other.quiet)
        now = kinds(each.attacked)
        document = {
            name: value for name, value in vars(each).items() if name not in ("quiet", "attacked")
        }
        found.append(
            document
            | {
                "others": {kind: asdict(judged) for kind, judged in now.items()},
                "quiet": {kind: asdict(judged) for kind, judged in quiet.items()},
                "missed": missed(now, quiet),
            }
        )
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--attack", action="append", choices=ATTACKS, metavar="NAME", help="all by default"
    )
    parser.add_argument("--target", action="append", choices=TARGETS, help="both by default")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack")
    parser.add_argument("--quiet", type=float, default=QUIET_SECONDS, help="seconds before each attack")
    parser.add_argument("--processes", type=int, default=2, help="of the service, as its unit has them")
    parser.add_argument("--json", type=Path, help="a file for everything that was measured")
    parser.add_argument("--page", type=Path, help=f"a page whose tables, behind {MEASURED}, to replace")
    parser.add_argument("--folder", type=Path, help="of data and logs, to be kept; new")
    parser.add_argument("--list", action="store_true", help="name the attacks, and do nothing")
    return parser.parse_args()


def main() -> int:
    """Attack, print, and return the exit status."""
    options = _options()
    if options.list:
        print("\n".join(f"{name}: {attack.text}" for name, attack in ATTACKS.items()))
        return 0
    enter_network()
    names, results, failed = options.attack or list(ATTACKS), [], False
    with tempfile.TemporaryDirectory(prefix="persona-profile-attacks-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        prepare_network(folder)
        authority = make_certificates(folder)
        issuers = {PINNED: support_document(good_key())}
        (folder / "issuers.json").write_text(json.dumps(issuers))
        with database(folder), providers(authority):
            for target in options.target or TARGETS:
                stage, community = Stage(folder, target, options.processes), Community()
                with stage.running():
                    Others(stage.target, community).move_in()
                for number, attack in enumerate(names, 1):
                    if ATTACKS[attack].only not in ("", target):
                        continue
                    try:
                        result = measure(
                            stage, attack, number, community, options.quiet, options.seconds
                        )
                    except (RuntimeError, AssertionError, OSError) as error:
                        failed = True
                        print(f"{target:<6} {attack:<22} not measured: {error}", file=sys.stderr)
                        continue
                    results.append(result)
                    wrong = missed(kinds(result.attacked), kinds(result.quiet))
                    told = "; ".join(wrong) or "goals met"
                    print(f"{target:<6} {attack:<22} {told}", file=sys.stderr, flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(summary(results), indent=1))
    print(table(results))
    if options.page:
        head, mark, _ = options.page.read_text().partition(MEASURED)
        assert mark, f"{options.page} has no line {MEASURED}"
        options.page.write_text(f"{head}{MEASURED}\n\n{table(results)}\n")
    return int(failed or any(each["missed"] for each in summary(results) if each["target"] == "nginx"))


if __name__ == "__main__":
    sys.exit(main())
