"""Work in a store by several calls, and the changes that it may make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from backends import Backend
from persona_profile.keys.keyring import Keyring
from support.store_world import Machine, View, Views, World


@dataclass
class Work:
    """Work that makes several calls of a store.

    Attributes:
        machine: where it is done.
        errors: with which it may end without having been acknowledged.
        began: where in the history it began.
        ring: the keyring when it began.
        commits: how often it changed a profile or a mark.
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
        """Do it by the calls of a backend."""
        raise NotImplementedError

    def may_change(self, email: str, before: View, after: View) -> bool:
        """Return whether it may turn one view of an email into another at this instant."""
        return False

    def acknowledged(self, result: object) -> None:
        """Fail unless what was acknowledged is so."""

    def rejected(self, error: BaseException) -> None:
        """Fail unless the error is one that may be."""
        if not isinstance(error, self.errors):
            raise error

    def window(self, email: str) -> list[View]:
        """Return the views of the email during the work."""
        return [views[email] for views in self.world.history[self.began :]]


def changed(before: Views, after: Views) -> Iterable[str]:
    """Return the emails that are not as they were."""
    return [email for email in before if before[email] != after[email]]
