"""Sessions against a model: sign-ins, merges, sign-outs, restarts, purges and clocks in any order."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, rule
from support.servers.machines import Machine, SharedStore

EMAILS = ("alice@example.com", "bob@example.net", "carol@example.org")
OFFSETS = (-0.9, 0.0, 0.9)
"""Offsets of the machines' clocks to the first machine's, in seconds."""

MACHINES = st.integers(0, len(OFFSETS) - 1)
SETS = st.sets(st.sampled_from(EMAILS), min_size=1).map(sorted)
LIFETIMES = st.sampled_from(["60", "3600", "86400"])


@dataclass(frozen=True)
class Opened:
    """A session in the model.

    Attributes:
        token: the bearer token.
        proved: the step of each email's proof.
        expires_at: seconds since 1970.
    """

    token: str
    proved: dict[str, int]
    expires_at: float


class Sessions(RuleBasedStateMachine):
    """Machines of a service, and a model that counts steps instead of time."""

    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.step = 0
        self.signed_out = dict.fromkeys(EMAILS, -1)
        self.machines: list[Machine] = []

    @initialize()
    def start(self) -> None:
        """Start the machines."""
        first = Machine(self.folder)
        self.machines = [first.beside(seconds) for seconds in OFFSETS]

    def teardown(self) -> None:
        """Stop the machines."""
        for machine in self.machines:
            machine.app.close()
        shutil.rmtree(self.folder)

    @rule(target=sessions, at=MACHINES, emails=SETS)
    def open(self, at: int, emails: list[str]) -> Opened:
        """A person signs in."""
        return self.opened(self.machines[at].open(*emails), dict.fromkeys(emails, self.next_step()))

    @rule(target=sessions, at=MACHINES, emails=SETS, older=sessions)
    def merge(self, at: int, emails: list[str], older: Opened) -> Opened:
        """A person adds emails to a session, or proves some again."""
        alive = self.is_alive(older, at)
        answer = self.machines[at].open(*emails, token=older.token, status=201 if alive else 401)
        if not alive:
            return older
        return self.opened(answer, older.proved | dict.fromkeys(emails, self.next_step()))

    @rule(at=MACHINES, session=sessions)
    def sign_out(self, at: int, session: Opened) -> None:
        """A person signs out; a partly ended session ends its remaining emails."""
        left = [email for email, step in session.proved.items() if step > self.signed_out[email]]
        is_valid = left and session.expires_at > self.machines[at].clock.now
        self.machines[at].sign_out(session.token, 204 if is_valid else 401)
        if is_valid:
            self.signed_out |= dict.fromkeys(left, self.next_step())

    @rule(at=MACHINES, session=sessions)
    def use(self, at: int, session: Opened) -> None:
        """A session works at every machine exactly as the model predicts."""
        assert self.machines[at].is_alive(session.token) == self.is_alive(session, at)

    @rule(at=MACHINES, lifetime=LIFETIMES)
    def restart(self, at: int, lifetime: str) -> None:
        """A machine restarts with another session lifetime."""
        machine = self.machines[at]
        self.machines[at] = machine.beside(0, sessions__lifetime=lifetime)
        machine.app.close()

    @rule(seconds=st.sampled_from([0.001, 0.5, 59, 1800, 40_000]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        for machine in self.machines:
            machine.clock.now += seconds

    @rule()
    def purge(self) -> None:
        """A process whose clock is an hour ahead deletes expired items."""
        hasty = SharedStore(lambda: self.machines[0].clock.now + 3600, self.machines[0].store)
        hasty.purge_expired(1000)

    def next_step(self) -> int:
        self.step += 1
        return self.step

    def opened(self, answer: dict[str, str], proved: dict[str, int]) -> Opened:
        """Return the session of an answer."""
        expires_at = datetime.fromisoformat(answer["expires_at"]).timestamp()
        return Opened(answer["token"], proved, expires_at)

    def is_alive(self, session: Opened, at: int) -> bool:
        """Return whether the model has a session alive at a machine."""
        is_ended = any(step <= self.signed_out[email] for email, step in session.proved.items())
        return not is_ended and session.expires_at > self.machines[at].clock.now


TestSessions = Sessions.TestCase
TestSessions.settings = settings(
    max_examples=12,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
