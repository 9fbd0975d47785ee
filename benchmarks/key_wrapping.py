"""What sealing and key wrapping cost of a dialog open and of a picture read, as a share.

The service, as it is served, on a private MariaDB answers requests, one after the other. Its functions
that wrap, unwrap, seal and open, also tokens, are timed where they are called. Printed are their
shares in the time that the client waits, and in the CPU time of the process, of which the database's is
no part.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import io
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from driving import EMAILS, FIRST_CORE, Clients, Request
from production import Served, production
from support.servers.mariadb import MariaDB
from timed_service import Spent

REQUESTS = 60
"""Of each kind in each round."""


class Dialog:
    """A client of the service, with two profiles that have pictures."""

    def __init__(self, clients: Clients, server: Served) -> None:
        self._clients = clients
        self._server = server
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        token = json.loads(self.ask(self.opening()))["token"]
        self._bearer = {"Authorization": f"Bearer {token}"}
        for email in EMAILS:
            path = f"/v1/profiles/{email}"
            picture = self._bearer | {"Content-Type": "image/jpeg"}
            self.ask(("PUT", f"{path}/picture", photo(), picture))
            claims = json.dumps({"name": "Alice Example", "label": "Work"}).encode()
            headers = self._bearer | {"Content-Type": "application/merge-patch+json"}
            self._urls = json.loads(self.ask(("PATCH", path, claims, headers)))["picture"]["urls"]

    def opening(self) -> Request:
        """Return the request of a dialog that opens."""
        return self._clients.session()

    def profiles(self) -> Request:
        """Return the request for all profiles of a session."""
        return "GET", "/v1/profiles", b"", self._bearer

    def picture(self, size: int) -> Request:
        """Return the request for one size of a picture."""
        path = "/" + self._urls[str(size)].split("/", 3)[3]
        return "GET", path, b"", {"Accept": "image/avif,image/webp,*/*"}

    def ask(self, request: Request) -> bytes:
        """Return the body of an answer, which must be a success."""
        method, path, body, headers = request
        self._connection.request(method, path, body or None, headers)
        with self._connection.getresponse() as response:
            answer = response.read()
        assert response.status < 300, (response.status, answer)
        return answer

    def cpu_seconds(self) -> float:
        """Return the CPU time that the service has used so far."""
        tasks = Path(f"/proc/{self._server.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def running(folder: Path, url: str, spent: Path) -> Iterator[Dialog]:
    """Run the service on a database."""
    clients = Clients(str(folder))
    settings = {
        "backend": "mysql",
        "backend.url": url,
        "browserid.pinned_issuers": f"{folder}/issuers.json",
    }
    command = (sys.executable, str(Path(__file__).with_name("timed_service.py")), str(spent))
    with production(folder / "service", settings, cores=FIRST_CORE, command=command) as server:
        yield Dialog(clients, server)


Make = Callable[[Dialog], Request]


def photo() -> bytes:
    """Return a picture whose renditions are about as large as those of photos: soft noise."""
    noise = Image.frombytes("RGB", (96, 96), os.urandom(96 * 96 * 3)).resize((600, 600))
    file = io.BytesIO()
    noise.save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(name: str, dialog: Dialog, spent: Spent, rounds: int, make: Make) -> None:
    """Have a request answered many times, and print the shares of sealing."""
    waits, shares, cpu_shares = [], [], []
    for _ in range(rounds):
        requests = [make(dialog) for _ in range(REQUESTS)]
        sealing, cpu = spent.seconds, dialog.cpu_seconds()
        began = time.perf_counter()
        for request in requests:
            dialog.ask(request)
        waits.append((time.perf_counter() - began) / REQUESTS)
        sealing = spent.seconds - sealing
        shares.append(sealing / waits[-1] / REQUESTS)
        cpu_shares.append(sealing / (dialog.cpu_seconds() - cpu))
    low, median, high = statistics.quantiles(shares, n=4)
    print(
        f"{name:<36} {median:5.1%}  (quartiles {low:.1%}, {high:.1%}; "
        f"{1000 * statistics.median(waits):.2f} ms)   {statistics.median(cpu_shares):5.1%}",
        flush=True,
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    print(f"{'share of sealing, median of rounds':<36} in the wait of a client           in CPU time")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spent = Spent(folder / "spent")
        with MariaDB(folder).running() as database:
            database.create_database()
            with running(folder, database.url, folder / "spent") as dialog:
                measure("POST /v1/sessions, two emails", dialog, spent, rounds, Dialog.opening)
                measure("GET /v1/profiles, two emails", dialog, spent, rounds, Dialog.profiles)
                for size in (64, 512):
                    kilobytes = len(dialog.ask(dialog.picture(size))) / 1000
                    what = f"GET a picture, {size} px, {kilobytes:.1f} kB"
                    picture = functools.partial(Dialog.picture, size=size)
                    measure(what, dialog, spent, rounds, picture)


if __name__ == "__main__":
    main()
