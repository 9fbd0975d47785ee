"""What attacks of one address do to others: their success, their waiting, and the service's resources.

Each attack comes from one address over up to 100 connections, for some seconds. Before it the same
others ask the same service without an attack ("quiet"). Others sign in with a pinned, a cached and a
fresh domain and with email verification tokens of fresh domains, read profiles, fetch pictures and
upload, at fixed rates, each from an address of its own.
The service runs as shipped: `production.ini`, `nginx.conf`, limits on, MariaDB, the network of
attack_stage.py. Each attack meets a new service, once behind nginx and once without it ("alone").

Goals behind nginx: 99 of 100 requests of others succeed (uploads and fresh domains: 90), and the p99 of
each kind is at most 5 times that of the quiet. The exit status is 1 if one is missed.

All share the cores of this machine: the service, nginx, MariaDB, others, and the attacker at low
priority (nice 19), as its own work belongs to another machine.

    python benchmarks/attacks.py [--attack NAME]... [--target nginx|alone] [--seconds N] [--json FILE]
    python benchmarks/attacks.py --page docs/explanation/attacks.md
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
from contextlib import contextmanager
from pathlib import Path

from attack_dns import attackers_signer, good_signer, serve_dns
from attack_list import ATTACKS
from attack_others import Community, Others
from attack_providers import attackers_key, good_key, serve_attackers_providers, serve_providers
from attack_report import MEASURED, TARGETS, Result, Results
from attack_stage import (
    PINNED,
    Stage,
    be_apart,
    database,
    enter_network,
    make_certificates,
    prepare_network,
)
from attacking import perform
from support.clients.identities import dsa_key, support_document
from support.servers.openid import edwards

QUIET_SECONDS = 10.0
_FORK = multiprocessing.get_context("fork")
_LOOK_SECONDS = 0.5
_READY_SECONDS = 120


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
    stage: Stage, name: str, community: Community, quiet_seconds: float, seconds: float
) -> Result:
    """Run one attack on a new service, after a quiet time."""
    attack, target, number = ATTACKS[name], stage.target, list(ATTACKS).index(name) + 1
    office = f"185.12.{number}.1" if attack.shares_office else None
    with stage.running():
        others = Others(target, community, office)
        others.warm_up()
        ready, go = _FORK.Event(), _FORK.Event()
        heard, attackers = _FORK.Pipe(duplex=False)
        reports, others_end = _FORK.Pipe(duplex=False)
        until = _FORK.Value("d", math.inf)

        def attacking() -> None:
            attackers.send(perform(attack, target, number, until, ready, go))
            os._exit(0)  # with threads that may hang

        def asking(end: float) -> None:
            be_apart()
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
        samples = reports.recv() if reports.poll(60) else []
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
    """Serve DNS and identity providers, good ones and the attacker's, in processes of their own."""
    good_key(), attackers_key(), dsa_key("person"), dsa_key("mallory")
    good_signer(), attackers_signer(), edwards("holder")
    processes = [
        _FORK.Process(target=serve, args=(authority,), daemon=True)
        for serve in (serve_providers, serve_attackers_providers)
    ]
    processes.append(_FORK.Process(target=serve_dns, daemon=True))
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join(10)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--attack", action="append", choices=ATTACKS, metavar="NAME", help="all by default"
    )
    parser.add_argument("--target", action="append", choices=TARGETS, help="both by default")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each attack")
    parser.add_argument("--quiet", type=float, default=QUIET_SECONDS, help="seconds before each attack")
    parser.add_argument("--processes", type=int, default=2, help="of the service, as its unit has them")
    parser.add_argument("--json", type=Path, help="a file of all results; earlier ones in it are kept")
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
    results = Results(options.json)
    with tempfile.TemporaryDirectory(prefix="persona-profile-attacks-") as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        prepare_network(folder)
        authority = make_certificates(folder)
        issuers = {PINNED: support_document(good_key())}
        (folder / "issuers.json").write_text(json.dumps(issuers))
        with database(folder), providers(authority):
            failed = [_attack(options, folder, target, results) for target in options.target or TARGETS]
    print(results.tables())
    if options.page:
        results.write_page(options.page)
    return int(
        any(failed) or any(results.missed(each) for each in results.all() if each.target == "nginx")
    )


def _attack(options: argparse.Namespace, folder: Path, target: str, results: Results) -> bool:
    """Run the attacks on a target; return whether one could not be measured."""
    stage, community, failed = Stage(folder, target, options.processes), Community(), False
    with stage.running():
        Others(stage.target, community).move_in()
    for name in options.attack or ATTACKS:
        if ATTACKS[name].only not in ("", target):
            continue
        try:
            result = measure(stage, name, community, options.quiet, options.seconds)
        except (RuntimeError, AssertionError, OSError) as error:
            failed = True
            print(f"{target:<6} {name:<22} not measured: {error}", file=sys.stderr)
            continue
        results.add(result)
        verdict = "; ".join(results.missed(result)) or "goals met"
        print(f"{target:<6} {name:<22} {verdict}", file=sys.stderr, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
