"""What uploads at saturation do to everything else: memory, answers, and the time that sign-in takes.

Sixty-four clients upload JPEGs of 100 megapixels, PNGs and WebPs of 50, all at once, and come back when
the server asks for, until each has succeeded. Meanwhile another client signs in at a steady rate.

Prints the answers, the most memory that service and workers had together (proportional set size), and
the ratio of the 99th percentile of `POST /v1/sessions` during that to the same before it. Uploaders
have what processor time nobody else wants: in reality they are on other machines.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from support.pictures.workers import picture_pids
from support.servers.services import Client, Service

MIB = 1024 * 1024
SIGN_INS_PER_SECOND = 20
IDLE_SIGN_INS = 400
PATIENCE_SECONDS = 600


def pictures() -> list[bytes]:
    """Return the large files: JPEG of one scan and progressive, PNG opaque and with alpha, WebP."""
    noise = Image.effect_noise((1000, 750), 50)
    small = Image.merge("RGB", (noise, noise.rotate(90), noise.rotate(180)))
    jpeg = small.resize((11_500, 8_625), Image.Resampling.BICUBIC)
    plain = small.quantize(32).convert("RGB").resize((8_160, 6_120), Image.Resampling.NEAREST)
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


def upload_all(service: Service, clients: int, start, results: multiprocessing.Queue) -> None:
    """Upload from so many clients at once, each until it has succeeded; put statuses and seconds."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    files = pictures()
    uploaders = [
        Client(service, f"c@office{number}.example", PATIENCE_SECONDS, f"127.0.1.{number + 1}")
        for number in range(clients)
    ]
    for each in uploaders:
        each.sign_in()
    results.put("ready")
    start.wait()

    def upload(number: int) -> None:
        began = time.monotonic()
        statuses: list[int | str] = []
        while time.monotonic() - began < PATIENCE_SECONDS:
            try:
                answer = uploaders[number].upload(files[number % len(files)])
            except (OSError, http.client.HTTPException) as error:
                statuses.append(type(error).__name__)
                break
            statuses.append(answer.status)
            if not answer.says_when_to_retry:
                break
            time.sleep(int(answer.headers["Retry-After"]))
        results.put((statuses, time.monotonic() - began))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class SignIns:
    """Signs in at a steady rate, on one connection, and notes how long each took."""

    def __init__(self, service: Service) -> None:
        self._client = Client(service, "dialog@example.com")
        self._provider, self._origin = service.identity_provider(), service.origin
        self.seconds: list[float] = []

    def one(self) -> float:
        """Sign in; return how long the service took."""
        proof = self._provider.bundle("dialog@example.com", self._origin)
        body = json.dumps({"proofs": [{"assertion": proof}]}).encode()
        answer = self._client.call("POST", "/v1/sessions", body, "application/json")
        assert answer.status == 201, answer
        return answer.seconds

    def run_while(self, goes_on) -> list[float]:
        """Sign in until stopped; return the seconds of each sign-in."""
        found = []
        while goes_on(len(found)):
            began = time.monotonic()
            found.append(self.one())
            time.sleep(max(0.0, 1 / SIGN_INS_PER_SECOND - (time.monotonic() - began)))
        return found


def watch_memory(pid: int, stop, results: multiprocessing.Queue) -> None:
    """Watch a service until stopped; put its largest memory in MiB, and that of its workers."""
    os.nice(19)  # who looks on is in nobody's way
    most = most_workers = 0.0
    while not stop.wait(0.1):
        workers = sum(map(proportional_set_size, picture_pids(pid)))
        most_workers = max(most_workers, workers)
        most = max(most, workers + proportional_set_size(pid))
    results.put((most, most_workers))


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


def report(
    before: list[float], during: list[float], outcomes: list, memory: tuple[float, float]
) -> None:
    """Print what was measured."""
    statuses = Counter(status for statuses, _ in outcomes for status in statuses)
    finished = sum(statuses[-1] == 200 for statuses, _ in outcomes)
    waits = sorted(seconds for _, seconds in outcomes)
    print(f"uploads: {finished} of {len(outcomes)} succeeded; answers {dict(statuses)}")
    print(f"seconds until success: median {statistics.median(waits):.1f}, last {waits[-1]:.1f}")
    print(f"most memory of service and workers: {memory[0]:.0f} MiB (workers {memory[1]:.0f})")
    for name, found in (("before", before), ("during", during)):
        p50, p99 = percentile(found, 50), percentile(found, 99)
        print(f"POST /v1/sessions {name}: {len(found)} times, p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    ratio = percentile(during, 99) / percentile(before, 99)
    print(f"ratio of p99: {ratio:.2f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--setting", action="append", default=[], help="such as 'pictures.workers = 4'")
    options = parser.parse_args()
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder, "service"), "memory", "", more="\n".join(options.setting))
        service.start()
        results = context.Queue()
        start, stop = context.Event(), context.Event()
        watch = context.Process(target=watch_memory, args=(service.pid, stop, results), daemon=True)
        uploads = context.Process(target=upload_all, args=(service, options.clients, start, results))
        try:
            sign_ins = SignIns(service)
            sign_ins.one()
            uploads.start()
            assert results.get(timeout=120) == "ready"
            watch.start()
            before = sign_ins.run_while(lambda count: count < IDLE_SIGN_INS)
            start.set()
            during = sign_ins.run_while(lambda _count: results.qsize() < options.clients)
            outcomes = [results.get() for _ in range(options.clients)]
            stop.set()
            report(before, during, outcomes, results.get())
        finally:
            uploads.kill()
            uploads.join()
            service.close()


if __name__ == "__main__":
    main()
