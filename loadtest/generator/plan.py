"""The plan of all arrivals: activity, user and picture of each, a function of the seed."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from loadtest.identities import Identities
from loadtest.pictures import KINDS, PREPARED, Kind, numbers
from persona_profile.capacity.model import ACTIVITIES, UPLOADS

SIZES: Final[Mapping[int, int]] = {64: 50, 128: 40, 256: 8, 512: 2}
"""Picture reads by width, in percent. Assumed; to check a larger width costs the generator more than it
costs the server to send it."""

NEWCOMER_SHARE: Final = 0.1
"""Share of emails without a picture at the beginning of a run: they get the first uploads."""

SMALL_KINDS: Final = (dataclasses.replace(PREPARED, share=100),)
"""For trying the load test itself."""


def kinds(*, small: bool = False) -> Sequence[Kind]:
    """Return the kinds of pictures that a run needs."""
    return SMALL_KINDS if small else (*KINDS, PREPARED)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A user's planned activity.

    Attributes:
        activity: of the capacity model.
        user, email: number of the user, and index of the email.
        picture: number of the picture to upload, or None.
        size: width to fetch, or None.
        new_certificates: whether the proofs have new certificates.
        gap: time since the arrival before, in units of the mean.
    """

    activity: str
    user: int
    email: int
    picture: int | None = None
    size: int | None = None
    new_certificates: bool = False
    gap: float = 0.0


class Plan:
    """The arrivals of one worker, without end; users and pictures are no other worker's.

    It assumes that every request succeeds, and does not depend on responses: it is the same for every
    server. With `launch` nine tenths of the emails have no picture yet.

    Raises:
        ValueError: there is no such worker, or no user for it.
    """

    def __init__(
        self, identities: Identities, seed: int, worker: int, workers: int, *, launch: bool = False
    ) -> None:
        self._draws = random.Random(f"plan {seed} {worker} {workers}")  # noqa: S311 - no secret
        self._visits = identities.visits(seed, worker, workers)
        self._numbers = numbers(seed, worker, workers)
        of_worker = range(worker, identities.users, workers)
        places = list(itertools.product(of_worker, range(identities.emails)))
        self._draws.shuffle(places)
        newcomers = max(1, int(len(places) * (0.9 if launch else NEWCOMER_SHARE)))
        self._blank = deque(places[:newcomers])
        self._held = places[newcomers:]
        self._index = {place: index for index, place in enumerate(self._held)}
        self._places = places
        self.prepared: list[tuple[tuple[int, int], int]] = [
            (place, next(self._numbers)) for place in self._held
        ]
        """Emails with a picture at the beginning of the run, and its number."""

    def arrivals(self, rates: Mapping[str, float]) -> Iterator[Arrival]:
        """Yield arrivals without end, in a mix; only the ratios of the rates matter.

        Gaps between them are exponential: the Poisson process of many independent people.
        """
        weights = list(itertools.accumulate(rates[each] for each in ACTIVITIES))
        while True:
            gap = self._draws.expovariate(1.0)
            [activity] = self._draws.choices(ACTIVITIES, cum_weights=weights)
            yield self._arrival(activity, gap)

    def _arrival(self, activity: str, gap: float) -> Arrival:
        if activity == "dialog_open":
            visit = next(self._visits)
            return Arrival(activity, visit.user.number, 0, None, None, visit.new_certificates, gap)
        picture = next(self._numbers) if activity in UPLOADS else None
        size = None
        if activity == "picture_read":
            [size] = self._draws.choices(list(SIZES), list(SIZES.values()))
        user, email = self._place(activity)
        return Arrival(activity, user, email, picture, size, gap=gap)

    def _place(self, activity: str) -> tuple[int, int]:
        """Return a user and email for an activity; update which emails have a picture."""
        is_first = activity in UPLOADS and (activity != "replacement" or not self._held)
        if is_first and self._blank:
            place = self._blank.popleft()
            self._index[place] = len(self._held)
            self._held.append(place)
            return place
        if activity == "edit" or not self._held:
            return self._draws.choice(self._places)
        place = self._draws.choice(self._held)
        if activity == "erase":
            at, last = self._index.pop(place), self._held.pop()
            if last != place:
                self._held[at] = last
                self._index[last] = at
            self._blank.append(place)
        return place
