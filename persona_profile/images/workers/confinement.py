"""The confinement of a process before it reads the first byte of a hostile file.

Three parts of the kernel, each for the rest of the process's life:

- `no_new_privs`: programs that the process executes get no more rights than it has.
- Landlock (landlock(7)): the process opens no file, binds or connects no TCP port, signals no process
  outside of the worker, and connects to no abstract Unix socket.
- seccomp (seccomp(2)), by libseccomp: the process makes the system calls below. Other calls fail with
  EPERM, so that a library that probes for a call falls back. Calls of another architecture kill.

A part that the system lacks is skipped and reported.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from typing import Any, Final

from persona_profile.runtime.dumps import PR_SET_NO_NEW_PRIVS, prctl, system_call

LANDLOCK: Final = "landlock"
SECCOMP: Final = "seccomp"
OK: Final = "ok"
PARTS: Final = (LANDLOCK, SECCOMP)

_LIBSECCOMP: Final = "libseccomp.so.2"

# Numbers of system calls, equal on all architectures.
_LANDLOCK_CREATE_RULESET: Final = 444
_LANDLOCK_RESTRICT_SELF: Final = 446

_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
_ALLOW: Final = 0x7FFF0000
_BAD_ARCHITECTURE: Final = 2
_RAW_ERRORS: Final = 9
_EQUAL: Final = 4
_MASKED_EQUAL: Final = 7
_UNKNOWN_CALL: Final = -1

_CLONE_THREAD: Final = 0x003D0F00
"""Flags with which C libraries start a thread."""

_CLONE_DETACHED: Final = 0x00400000
"""A flag without effect that musl sets."""

_FREE_CALLS: Final = (
    # memory
    *("brk", "munmap", "mremap", "madvise"),
    # the file, and open descriptors
    *("read", "pread64", "lseek", "fstat", "close"),
    # threads and signals of its own
    *("futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("exit", "exit_group"),
    # time, random numbers and the size of the machine
    *("clock_gettime", "gettimeofday", "time", "clock_nanosleep", "getrandom", "sysinfo"),
)


class _Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _Condition(ctypes.Structure):
    """`struct scmp_arg_cmp`: argument, operator, and one or two operands."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


class Confinement:
    """A confinement, prepared by one process and entered by each process that it forks."""

    def __init__(self) -> None:
        self._states = dict.fromkeys(PARTS, OK)
        with self._noted(LANDLOCK):
            self._rights = _all_rights()
        with self._noted(SECCOMP):
            self._filter = _allowed_calls()

    def enter(self) -> dict[str, str]:
        """Confine this process, which must have a single thread and enters once.

        Returns:
            For each of `PARTS` `ok`, or the reason why the system lacks it.
        """
        assert threading.active_count() == 1
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        if self._states[LANDLOCK] == OK:
            with self._noted(LANDLOCK):
                _restrict(self._rights)
        if self._states[SECCOMP] == OK:
            with self._noted(SECCOMP):
                self._filter.load()
        return self._states

    @contextlib.contextmanager
    def _noted(self, part: str) -> Iterator[None]:
        """Keep the reason why the system lacks a part."""
        try:
            yield
        except OSError as error:
            self._states[part] = error.strerror or type(error).__name__


def _all_rights() -> _Ruleset:
    """Return every right and scope that the kernel's version of Landlock knows."""
    os.close(_create(_Ruleset(handled_access_fs=1)))
    return _Ruleset(**{name: _widest(name) for name, _ in _Ruleset._fields_})


def _widest(name: str) -> int:
    """Return the rights of one kind that the kernel knows, as bits from the lowest."""
    for bits in range(64, 0, -1):
        rights = (1 << bits) - 1
        try:
            os.close(_create(_Ruleset(**{name: rights})))
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.E2BIG):
                raise
        else:
            return rights
    return 0


def _create(rights: _Ruleset) -> int:
    """Return the descriptor of a ruleset without rules, which grants none of the rights."""
    return system_call(_LANDLOCK_CREATE_RULESET, ctypes.byref(rights), ctypes.sizeof(rights), 0)


def _restrict(rights: _Ruleset) -> None:
    ruleset = _create(rights)
    try:
        system_call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


class _Filter:
    """A filter of system calls, of libseccomp; only the calls of its rules are allowed."""

    def __init__(self) -> None:
        try:
            self._library: Any = ctypes.CDLL(_LIBSECCOMP)
        except OSError:
            raise OSError(errno.ENOENT, f"{_LIBSECCOMP} is not installed") from None
        self._library.seccomp_init.restype = ctypes.c_void_p
        self._context = ctypes.c_void_p(
            self._library.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM))
        )
        if not self._context:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        for attribute, value in ((_BAD_ARCHITECTURE, _KILL_PROCESS), (_RAW_ERRORS, 1)):
            self._call("seccomp_attr_set", ctypes.c_int(attribute), ctypes.c_uint32(value))

    def allow(self, name: str, *conditions: _Condition) -> None:
        """Allow a call if all conditions hold. A call that the architecture lacks is skipped."""
        number = self._library.seccomp_syscall_resolve_name(name.encode())
        if number != _UNKNOWN_CALL:
            self._rule(_ALLOW, number, *conditions)

    def fail(self, name: str, number: int) -> None:
        """Make a call fail with another error than EPERM."""
        self._rule(_ERRNO | number, self._library.seccomp_syscall_resolve_name(name.encode()))

    def load(self) -> None:
        """Apply the filter to this process, which may send signals to itself only."""
        self.allow("tgkill", _Condition(0, _EQUAL, os.getpid()))  # abort(3)
        self._call("seccomp_load")

    def _rule(self, action: int, number: int, *conditions: _Condition) -> None:
        array = (_Condition * len(conditions))(*conditions)
        self._call(
            "seccomp_rule_add_array",
            ctypes.c_uint32(action),
            ctypes.c_int(number),
            ctypes.c_uint(len(conditions)),
            array,
        )

    def _call(self, name: str, *arguments: Any) -> None:
        result: int = getattr(self._library, name)(self._context, *arguments)
        if result < 0:
            raise OSError(-result, os.strerror(-result))


def _allowed_calls() -> _Filter:
    """Return the calls that a worker needs to compute, read its file and exchange messages."""
    made = _Filter()
    for name in _FREE_CALLS:
        made.allow(name)
    for name in ("mmap", "mprotect"):  # no new code
        made.allow(name, _Condition(2, _MASKED_EQUAL, mmap.PROT_EXEC, 0))
    for name in ("sendto", "recvfrom"):  # without an address, so on the connected socket alone
        made.allow(name, _Condition(4, _EQUAL, 0))
    made.allow(
        "clone", _Condition(0, _MASKED_EQUAL, 0xFFFFFFFFFFFFFFFF ^ _CLONE_DETACHED, _CLONE_THREAD)
    )
    made.fail("clone3", errno.ENOSYS)  # a filter can't read its flags; C libraries then use clone
    made.allow("prlimit64", _Condition(0, _EQUAL, 0), _Condition(2, _EQUAL, 0))  # to read a limit
    return made
