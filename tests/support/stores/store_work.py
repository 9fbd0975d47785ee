"""Work in a store by several calls, and the changes that it may make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from backends import Backend
from persona_profile.keys.keyring import Keyring
from support.stores.store_world import Machine, View, Views, World


@dataclass
class Work:
    """Work that makes several calls of a store.

    Attributes:
        machine: the machine that runs it.
        errors: errors with which it may end unacknowledged.
        began: its start, as an index of the history.
        ring: the keyring at its start.
        commits: the number of its changes to profiles and marks.
    """

    errors: ClassVar[tuple[type[BaseException], ...]] = ()

    world: World
    machine: Machine
    began: int = field(init=False)
    ring: Keyring = field(init=False)
    commits: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.began = len(self.world.history) - 1
        self.ring = self.machine.keyring

    def run(self, backend: Backend) -> object:
        """Run the work with a backend."""
        raise NotImplementedError

    def may_change(self, email: str, before: View, after: View) -> bool:
        """Return whether it may change an email's view so at this instant."""
        return False

    def acknowledged(self, result: object) -> None:
        """Fail unless an acknowledged result holds."""

    def rejected(self, error: BaseException) -> None:
        """Fail unless the error is one that may be."""
        if not isinstance(error, self.errors):
            raise error

    def window(self, email: str) -> list[View]:
        """Return the views of the email during the work."""
        return [views[email] for views in self.world.history[self.began :]]


def changed(before: Views, after: Views) -> Iterable[str]:
    """Return the emails with changed views."""
    return [email for email in before if before[email] != after[email]]
