"""The load of one process: it prepares its users, starts planned arrivals and counts the results."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import gevent
from gevent.event import Event
from gevent.pool import Pool

from loadtest.generator.client import Connections, NoAnswer, Response
from loadtest.generator.pacer import MAX_IN_FLIGHT, Pacer
from loadtest.generator.people import Card
from loadtest.generator.plan import Arrival, Plan
from loadtest.generator.scenarios import SCENARIOS, WRONG_ANSWERS, World, thumbnail_of
from loadtest.generator.tally import Tally
from loadtest.identities import Identities
from loadtest.pictures import PREPARED, PictureLibrary, mark_in
from loadtest.record import GeneratorSample, RecordLine

AT_ONCE: Final = 4
"""Users that are prepared at the same time: the default number of places for uploads."""

_PATIENCE: Final = 300
"""Seconds in which a request of the preparation is repeated while the server sheds it."""

Report = Callable[[str, float, int, str], None]


class Unprepared(Exception):
    """The server rejected the state that a run begins with; the message says why."""


class Engine:
    """The load of one process.

    Args:
        process: its name in the record.
        origin: of the server.
        audience: origin that assertions name.
        identities, library: users and pictures of all processes.
        report: see `Tally`.
    """

    def __init__(
        self,
        process: str,
        origin: str,
        audience: str,
        identities: Identities,
        library: PictureLibrary,
        report: Report,
    ) -> None:
        self.tally = Tally(report)
        self.process = process
        self._connections = Connections(origin, MAX_IN_FLIGHT)
        self._world = World(self._connections, identities, library, audience)
        self._scenarios = {
            name: scenario(name, self._world, self.tally) for name, scenario in SCENARIOS.items()
        }
        self._pacer = Pacer(self._perform, self.tally)
        self._is_prepared = Event()
        self._plan: Plan | None = None
        self._rates: Mapping[str, float] = {}
        self._cpu, self._looked_at = time.process_time(), time.monotonic()

    def prepare(
        self, seed: int, worker: int, workers: int, rates: Mapping[str, float], *, launch: bool
    ) -> None:
        """Sign this worker's users in, and upload the pictures that the run begins with; see `Plan`.

        Raises:
            Unprepared: the server rejected them.
            ValueError: there is no such worker, or no user for it.
        """
        plan = Plan(self._world.identities, seed, worker, workers, launch=launch)
        pictures = dict(plan.prepared)
        numbers = range(worker, self._world.identities.users, workers)
        failures: list[str] = []

        def prepare_user(number: int) -> None:
            try:
                if not failures:
                    self._prepare_user(number, pictures)
            except (NoAnswer, Unprepared, *WRONG_ANSWERS) as error:
                failures.append(f"{type(error).__name__}: {error}")

        Pool(AT_ONCE).map(prepare_user, numbers)
        if failures:
            raise Unprepared(f"users could not be prepared: {failures[0]}")
        self._plan, self._rates = plan, rates
        self._is_prepared.set()

    def run(self) -> None:
        """Start planned arrivals until `end`."""
        self._is_prepared.wait()
        if self._plan is not None:
            self._pacer.run(self._plan.arrivals(self._rates))

    @property
    def plan(self) -> Plan:
        """The plan, after `prepare` has ended."""
        assert self._plan is not None
        return self._plan

    def perform_now(self, arrival: Arrival) -> None:
        """Perform an arrival as if it were planned for now."""
        now = time.time()
        self.tally.plan(arrival.activity, now)
        self._perform(arrival, now)

    def change(self, at: float, rate: float) -> None:
        """Change the rate to so many arrivals per second at an instant."""
        self._pacer.change(at, rate)

    def end(self) -> None:
        """Start no more arrivals."""
        self._pacer.end()
        self._is_prepared.set()

    def lines(self) -> Sequence[RecordLine]:
        """Return the seconds that have settled since the last call, and a sample of this process."""
        now, cpu = time.monotonic(), time.process_time()
        share = (cpu - self._cpu) / max(now - self._looked_at, 1e-3)
        self._cpu, self._looked_at = cpu, now
        lag, self._pacer.lag = self._pacer.lag, 0.0
        sample = GeneratorSample(time.time(), self.process, round(share, 3), round(lag, 4))
        return [*self.tally.settled(time.time()), sample]

    def _perform(self, arrival: Arrival, planned_at: float) -> None:
        self._scenarios[arrival.activity].perform(arrival, planned_at)

    def _prepare_user(self, number: int, pictures: Mapping[tuple[int, int], int]) -> None:
        """Bring a user's emails into the first state of the plan."""
        answer = self._until_accepted(lambda: self._world.open_session(number), 201)
        person = self._world.person(number)
        for index, profile in enumerate(answer.json["profiles"]):
            card = person.cards[index]
            card.name = profile["name"]
            card.picture = mark_in(thumbnail_of(profile)) if profile["picture"] else None
            picture = pictures.get((number, index))
            if picture is None and profile["version"]:
                self._erase(number, index, card)
            elif picture is not None and card.picture is None:
                self._upload(number, index, picture, card)

    def _erase(self, user: int, email: int, card: Card) -> None:
        arrival = Arrival("erase", user, email)
        self._until_accepted(lambda: self._world.call(arrival, "DELETE"), 204)
        card.name = card.picture = None

    def _upload(self, user: int, email: int, number: int, card: Card) -> None:
        picture = self._world.library.picture_of_kind(number, PREPARED.name)
        arrival = Arrival("first_upload", user, email, number)
        answer = self._until_accepted(
            lambda: self._world.call(arrival, "PUT", "/picture", picture.body, picture.content_type),
            200,
        )
        card.keep_urls(answer.json)
        card.picture = picture.mark

    @staticmethod
    def _until_accepted(ask: Callable[[], Response], status: int) -> Response:
        deadline = time.monotonic() + _PATIENCE
        answer = ask()
        while answer.is_shed and time.monotonic() < deadline:
            gevent.sleep(answer.retry_after or 0.5)
            answer = ask()
        if answer.status != status:
            raise Unprepared(answer.problem)
        return answer
