"""Failures that end a command; `main` prints their messages."""


class CommandFailed(Exception):
    """The command failed."""

    status = 1


class WrongUsage(CommandFailed):
    """An argument can't be used."""

    status = 2
