"""Protects the memory of a process from other processes of the same user.

Other processes can read its memory, environment and open files: through `/proc`, ptrace(2),
process_vm_readv(2) and core dumps. If a process is not dumpable, only root can.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Final

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def forbid_dumps() -> None:
    """Make this process not dumpable. Its forks inherit this; programs that it executes do not.

    Raises:
        OSError: the kernel rejects it.
    """
    prctl(PR_SET_DUMPABLE, 0)


def prctl(option: int, value: int) -> None:
    """Change an attribute of this process.

    Raises:
        OSError: the kernel rejects it.
    """
    checked(_LIBC.prctl, option, value, 0, 0, 0)


def system_call(number: int, *arguments: Any) -> int:
    """Make a system call that the C library does not wrap; return its result.

    Raises:
        OSError: it failed.
    """
    return checked(_LIBC.syscall, number, *arguments)


def checked(function: Any, *arguments: Any) -> int:
    """Call a function of the C library; return its result.

    Args:
        function: of `ctypes`, loaded with `use_errno`.
        arguments: integers, which are passed as `long`, and pointers.

    Raises:
        OSError: it returned -1.
    """
    result: int = function(
        *(ctypes.c_long(each) if isinstance(each, int) else each for each in arguments)
    )
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
