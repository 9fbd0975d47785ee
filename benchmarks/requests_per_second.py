"""Requests per second of this service over those of a bare Pyramid + Cornice "hello".

Both run in a process of their own, pinned to one core, in turns; the client has the other core. The
service is as it is served (`production`), "hello" on the same number of threads. It stores in memory
first, then in MariaDB, which has the client's core. A server that is busy
all the time answers as many requests as its processor time allows, so the ratios are those of processor
time: other programs on the machine disturb them less. The requests/s need an idle machine.

Prints the median of the ratios and of the requests/s, all ratios, and the difference to the results
in `requests_per_second.json`. `--keep` writes that file; commit it with the change that explains it.

    python benchmarks/requests_per_second.py [--rounds N] [--keep]
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from driving import (
    CONNECTIONS,
    FIRST_CORE,
    HELLO,
    Clients,
    Request,
    all_profiles,
    cost,
    edit,
    hello_server,
    picture,
    set_pictures,
    summary,
)
from kept_results import Results
from PIL import Image
from production import Served, production
from support.servers.mariadb import MariaDB

THUMBNAIL = 128
KEPT = Path(__file__).with_suffix(".json")

Prepare = Callable[[], list[list[Request]]]


def photo() -> bytes:
    """Return a picture whose renditions are about as large as those of photos: soft noise."""
    noise = Image.effect_noise((96, 96), 60)
    picture = Image.merge("RGB", [noise.rotate(angle) for angle in (0, 90, 180)]).resize((600, 600))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90)
    return file.getvalue()


def compare(name: str, ours: Served, hello: Served, prepare: Prepare, rounds: int) -> list[float]:
    """Run both in turns, print the ratios and return them."""
    ratios, rates = [], []
    for _ in range(rounds):
        prepared = prepare()
        base = cost([hello.pid], hello.port, [[HELLO]] * CONNECTIONS)
        found = cost([ours.pid], ours.port, prepared)
        rates.append(found.rate)
        ratios.append(base.server / found.server)
    print(f"{name:<58} {summary(ratios)}  {statistics.median(rates):.0f}/s", flush=True)
    return ratios


def requests_of(clients: Clients, ours: Served) -> dict[str, Prepare]:
    """Return what is measured: how to prepare the requests of each connection, by name."""
    token = clients.token(ours.port)
    get, patch = all_profiles(token), edit(token)
    return {
        "GET /v1/profiles, two emails": lambda: [[get]] * CONNECTIONS,
        "PATCH /v1/profiles/EMAIL": lambda: [[patch]] * CONNECTIONS,
        "POST /v1/sessions, certificates seen": clients.sessions,
        "POST /v1/sessions, certificates never seen": lambda: clients.sessions(fresh_certificates=True),
    }


def requests_of_pictures(clients: Clients, ours: Served) -> dict[str, Prepare]:
    """Return what is measured once both emails have a picture, which makes every answer longer."""
    token = clients.token(ours.port)
    set_pictures(ours.port, token, photo())
    get = picture(ours.port, token, THUMBNAIL)
    thumbnails = partial(clients.sessions, thumbnails=THUMBNAIL)
    return {
        f"dialog open: POST /v1/sessions, thumbnails of {THUMBNAIL} px": thumbnails,
        f"GET of a picture of {THUMBNAIL} px": lambda: [[get]] * CONNECTIONS,
    }


def measure(
    results: Results, clients: Clients, ours: Served, hello: Served, rounds: int, place: str = ""
) -> None:
    """Compare all requests; note the results."""
    for requests in (requests_of, requests_of_pictures):
        for name, prepare in requests(clients, ours).items():
            if place and name.startswith("PATCH"):
                continue  # all connections write one profile: they would repeat their writes
            results.note(name + place, compare(name + place, ours, hello, prepare, rounds))


def new_folder(parent: str, name: str) -> Path:
    """Return a new folder."""
    folder = Path(parent, name)
    folder.mkdir()
    return folder


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help=f"write {KEPT.name}")
    options = parser.parse_args()
    results = Results(KEPT)
    print("requests/s over those of hello, median of rounds (all rounds), and requests/s")
    with tempfile.TemporaryDirectory() as folder, hello_server() as hello:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        clients = Clients(folder)
        settings = {"browserid.pinned_issuers": f"{folder}/issuers.json"}
        rounds = options.rounds
        with production(Path(folder, "memory"), settings, cores=FIRST_CORE) as ours:
            measure(results, clients, ours, hello, rounds)
        with MariaDB(new_folder(folder, "database")).running() as database:
            database.create_database()
            settings |= {"backend": "mysql", "backend.url": database.url}
            with production(Path(folder, "service"), settings, cores=FIRST_CORE) as ours:
                measure(results, clients, ours, hello, rounds, ", on MariaDB")
    results.report()
    if options.keep:
        results.keep()


if __name__ == "__main__":
    main()
