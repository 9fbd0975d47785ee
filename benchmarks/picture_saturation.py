"""What uploads at saturation do to everything else: memory, answers, and the time that sign-in takes.

The service runs on all cores as it is served (`production`), with three loads, one after the other:

- Photos alone: four clients upload photos of 12 megapixels all the time, and nobody signs in.
- Photos, while another client signs in at a steady rate.
- Huge pictures, while that client signs in: sixty-four clients upload JPEGs of 100 megapixels, PNGs
  and WebPs of 49, all at once, and come back when the server asks for, until each has succeeded.

Prints photos/s, answers, the most memory that service and workers had together (proportional set size),
and the ratio of the 99th percentile of `POST /v1/sessions` during each load to the same before it.
`--against` gives the command of another version: it takes turns with this one, and the ratio of
photos/s is printed. Clients share the cores with the service; in reality they are on other machines.

    python benchmarks/picture_saturation.py [--rounds N] [--against OTHER/.venv/bin/persona-profile]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Self

from camera_pictures import camera_jpeg
from PIL import Image
from production import COMMAND, production

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.clients.identities import AUDIENCE, bundle, dsa_key, support_document
from support.pictures.workers import picture_pids
from support.servers.services import Client

MIB = 1024 * 1024
MEGAPIXELS = 12
PHOTO_CLIENTS = 4
"""As many as the service renders or lets wait by default, so that each upload succeeds."""

PHOTO_SECONDS = 15.0
HUGE_CLIENTS = 64
SIGN_INS_PER_SECOND = 20
SIGN_INS = 400
PATIENCE_SECONDS = 600
SIGNER = "dialog.example"

_context = multiprocessing.get_context("fork")


@dataclass
class Place:
    """A served service, as `Client` knows it, and the issuer that all its domains are pinned to."""

    pid: int
    port: int
    address: str = "127.0.0.1"
    public: str = AUDIENCE
    clients: list[Client] = field(default_factory=list)

    def identity_provider(self) -> Place:
        """Return the issuer."""
        return self

    def bundle(self, email: str, audience: str) -> str:
        """Return a proof of an email."""
        return bundle(email, audience, issuer_key=dsa_key("issuer"), user_key=dsa_key("user"))

    def uploader(self, number: int) -> Client:
        """Return a client with a session, of a network and an issuer that no other number has."""
        client = Client(self, f"c@{domain(number)}", PATIENCE_SECONDS, f"127.0.1.{number + 1}")
        client.sign_in()
        return client


def domain(number: int) -> str:
    """Return the domain of an uploader."""
    return f"office{number}.example"


@contextlib.contextmanager
def served(command: tuple[str, ...], more: dict[str, str]) -> Iterator[Place]:
    """Serve until the end of the block."""
    names = [SIGNER, *map(domain, range(HUGE_CLIENTS))]
    with tempfile.TemporaryDirectory() as folder:
        issuers = Path(folder, "issuers.json")
        issuers.write_text(json.dumps({name: support_document(dsa_key("issuer")) for name in names}))
        settings = {"browserid.pinned_issuers": str(issuers)} | more
        with production(Path(folder, "service"), settings, command=command) as made:
            yield Place(made.pid, made.port)


def huge_pictures() -> list[bytes]:
    """Return the large files: JPEG of one scan and progressive, PNG opaque and with alpha, WebP."""
    noise = Image.effect_noise((1000, 750), 50)
    small = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    jpeg = small.resize((11_500, 8_625), Image.Resampling.BICUBIC)
    plain = small.quantize(32).convert("RGB").resize((8_064, 6_048), Image.Resampling.NEAREST)
    clear = plain.copy()
    clear.putalpha(Image.linear_gradient("L").resize(plain.size, Image.Resampling.NEAREST))
    return [
        encode(jpeg, "JPEG", quality=80),
        encode(jpeg, "JPEG", quality=80, progressive=True),
        encode(plain, "PNG", compress_level=3),
        encode(clear, "PNG", compress_level=3),
        encode(plain, "WEBP", quality=60, method=0),
    ]


def encode(picture: Image.Image, name: str, **options) -> bytes:
    """Return a file, small enough to be uploaded."""
    buffer = io.BytesIO()
    picture.save(buffer, name, **options)
    assert buffer.tell() <= 20 * MIB, (name, buffer.tell())
    return buffer.getvalue()


class Outcome(NamedTuple):
    """The answers that one client got, and the seconds until its last."""

    statuses: list[int | str]
    seconds: float


class Uploads:
    """Clients that upload, in a process of their own, from the start of the `with` block.

    Args:
        clients: their number.
        files: client N uploads file N, modulo their number.
        once: until it has succeeded; otherwise again and again.
    """

    def __init__(self, place: Place, clients: int, files: list[bytes], *, once: bool) -> None:
        self._place, self._clients, self._files, self._once = place, clients, files, once
        self._ready, self._start, self._stop = (_context.Event() for _ in range(3))
        self._results = _context.Queue()
        self._process = _context.Process(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start, with open sessions."""
        self._process.start()
        assert self._ready.wait(120)
        return self

    def __exit__(self, *_error: object) -> None:
        """End all clients."""
        self._process.kill()
        self._process.join()

    def start(self) -> None:
        """Let the clients upload."""
        self._start.set()

    def go_on(self) -> bool:
        """Return whether a client still uploads."""
        return self._results.qsize() < self._clients

    def outcomes(self) -> list[Outcome]:
        """Stop; return what each client got."""
        self._stop.set()
        return [self._results.get() for _ in range(self._clients)]

    def _run(self) -> None:
        os.nice(19)  # the service and who signs in go first
        clients = [self._place.uploader(number) for number in range(self._clients)]
        self._ready.set()
        self._start.wait()
        threads = [
            threading.Thread(target=self._upload, args=(client, self._files[number % len(self._files)]))
            for number, client in enumerate(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _upload(self, client: Client, file: bytes) -> None:
        began = time.monotonic()
        statuses: list[int | str] = []
        while time.monotonic() - began < PATIENCE_SECONDS and not self._stop.is_set():
            try:
                answer = client.upload(file)
            except (OSError, http.client.HTTPException) as error:
                statuses.append(type(error).__name__)
                break
            statuses.append(answer.status)
            if answer.says_when_to_retry:
                self._stop.wait(int(answer.headers["Retry-After"]))
            elif self._once:
                break
        self._results.put(Outcome(statuses, time.monotonic() - began))


class SignIns:
    """Signs in at a steady rate, on one connection, and notes how long each took."""

    def __init__(self, place: Place) -> None:
        self._client = Client(place, f"someone@{SIGNER}")
        self._place = place
        self._one()

    def run_while(self, goes_on: Callable[[int], bool]) -> list[float]:
        """Sign in until stopped; return the seconds of each sign-in."""
        found: list[float] = []
        while goes_on(len(found)):
            began = time.monotonic()
            found.append(self._one())
            time.sleep(max(0.0, 1 / SIGN_INS_PER_SECOND - (time.monotonic() - began)))
        return found

    def _one(self) -> float:
        proof = self._place.bundle(self._client.email, AUDIENCE)
        body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
        answer = self._client.call("POST", "/v1/sessions", body, "application/json")
        assert answer.status == 201, answer
        return answer.seconds


class Memory:
    """Watches the memory of a service and its workers, in MiB, from the start of the `with` block."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = _context.Event()
        self._results = _context.Queue()
        self._process = _context.Process(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._process.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """End."""
        self._process.kill()
        self._process.join()

    def most(self) -> tuple[float, float]:
        """Stop; return the most memory of all, and of the workers."""
        self._stop.set()
        return self._results.get()

    def _run(self) -> None:
        os.nice(19)  # who looks on is in nobody's way
        most = most_workers = 0.0
        while not self._stop.wait(0.1):
            workers = sum(map(proportional_set_size, picture_pids(self._pid)))
            most_workers = max(most_workers, workers)
            most = max(most, workers + proportional_set_size(self._pid))
        self._results.put((most, most_workers))


def proportional_set_size(pid: int) -> float:
    """Return the memory of a process in MiB; what it shares with others counts in part."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def percentile(seconds: list[float], part: float) -> float:
    """Return a percentile in milliseconds."""
    return statistics.quantiles(seconds, n=1000)[round(part * 10) - 1] * 1000


def report_sign_ins(before: list[float], during: list[float]) -> float:
    """Print the time of sign-ins; return the ratio of their 99th percentiles."""
    for name, found in (("before", before), ("during", during)):
        p50, p99 = percentile(found, 50), percentile(found, 99)
        print(f"  POST /v1/sessions {name}: {len(found)} times, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratio = percentile(during, 99) / percentile(before, 99)
    print(f"  ratio of p99: {ratio:.2f}", flush=True)
    return ratio


def rate(outcomes: list[Outcome]) -> float:
    """Return the uploads a second of clients that uploaded again and again; a few may be shed."""
    answers = Counter(status for each in outcomes for status in each.statuses)
    assert answers[200] > 0.95 * answers.total(), answers
    return answers[200] / statistics.mean(each.seconds for each in outcomes)


def photos_alone(place: Place, photo: bytes) -> float:
    """Upload photos while nobody signs in; print and return how many a second."""
    with Uploads(place, PHOTO_CLIENTS, [photo], once=False) as uploads:
        uploads.start()
        time.sleep(PHOTO_SECONDS)
        found = rate(uploads.outcomes())
    print(f"photos alone: {found:.2f}/s", flush=True)
    return found


def photos_and_sign_ins(place: Place, photo: bytes) -> float:
    """Upload photos while somebody signs in; print what is measured, return the ratio of p99."""
    sign_ins = SignIns(place)
    with Uploads(place, PHOTO_CLIENTS, [photo], once=False) as uploads:
        before = sign_ins.run_while(lambda count: count < SIGN_INS)
        uploads.start()
        during = sign_ins.run_while(lambda count: count < SIGN_INS)
        found = rate(uploads.outcomes())
    print(f"photos and sign-ins: {found:.2f}/s")
    return report_sign_ins(before, during)


def huge_and_sign_ins(place: Place, files: list[bytes]) -> float:
    """Upload huge pictures while somebody signs in; print what is measured, return the ratio of p99."""
    sign_ins = SignIns(place)
    with Uploads(place, HUGE_CLIENTS, files, once=True) as uploads, Memory(place.pid) as memory:
        before = sign_ins.run_while(lambda count: count < SIGN_INS)
        uploads.start()
        during = sign_ins.run_while(lambda _count: uploads.go_on())
        outcomes, most = uploads.outcomes(), memory.most()
    finished = sum(each.statuses[-1] == 200 for each in outcomes)
    answers = Counter(status for each in outcomes for status in each.statuses)
    waits = sorted(each.seconds for each in outcomes)
    print(f"huge pictures: {finished} of {len(outcomes)} succeeded; answers {dict(answers)}")
    print(f"  seconds until success: median {statistics.median(waits):.1f}, last {waits[-1]:.1f}")
    print(f"  most memory of service and workers: {most[0]:.0f} MiB (workers {most[1]:.0f})")
    return report_sign_ins(before, during)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--against", help="the persona-profile command of another version")
    parser.add_argument("--loads", nargs="+", choices=("alone", "photos", "huge"))
    parser.add_argument("--setting", action="append", default=[], help="such as 'pictures.workers=4'")
    options = parser.parse_args()
    loads = options.loads or ("alone", "photos", "huge")
    more = dict(setting.split("=", 1) for setting in options.setting)
    commands = {"this version": COMMAND}
    if options.against:
        commands = {"the other version": (options.against,)} | commands
    photo = camera_jpeg(MEGAPIXELS)
    huge = huge_pictures() if "huge" in loads else []
    rates: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(options.rounds):
        for name, command in commands.items():
            print(f"{name}:")
            with served(command, more) as place:
                if "alone" in loads:
                    rates[name].append(photos_alone(place, photo))
                if "photos" in loads:
                    photos_and_sign_ins(place, photo)
                if "huge" in loads:
                    huge_and_sign_ins(place, huge)
    if options.against and "alone" in loads:
        ratios = [new / old for old, new in zip(*rates.values(), strict=True)]
        print(f"photos alone over the other version: {statistics.median(ratios):.2f}  ({ratios})")


if __name__ == "__main__":
    main()
