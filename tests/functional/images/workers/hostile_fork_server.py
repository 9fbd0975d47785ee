"""A fork server whose workers run hostile code in place of the decoder.

It simulates a decoder that a file has taken over: `python hostile_fork_server.py NAME`. The steps
before, with the confinement, are the service's own, so attacks get some knowledge beforehand.
A second argument names a missing part of the confinement.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import re
import resource
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from persona_profile.images.workers import confinement, fork_server, worker
from persona_profile.images.workers.channel import Channel
from persona_profile.images.workers.confinement import Confinement

DECOY = "MARKER-" + "0" * 32
"""A marker in every worker's memory: a search that misses it is broken."""

NOTHING = "nothing"
"""The name of no attack: workers decode normally."""

SIZE = 1000
"""Bytes of the system calls' buffers."""

# Calls that are permitted with any arguments; all others must fail.
ALLOWED = {
    *("brk", "munmap", "mremap", "madvise", "read", "pread64", "lseek", "fstat", "close"),
    *("futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "gettid", "getpid"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("exit", "exit_group", "clock_gettime", "gettimeofday", "time", "clock_nanosleep"),
    *("getrandom", "sysinfo"),
}
# Calls that are permitted with harmless arguments, here zeros.
HARMLESS_WITH_ZEROS = {"mmap", "mprotect", "sendto", "recvfrom", "prlimit64"}

_IS_X86_64 = platform.machine() == "x86_64"
_libc = ctypes.CDLL(None, use_errno=True)
_libseccomp = ctypes.CDLL("libseccomp.so.2")
_maps = ""
_decoy = DECOY
_was_here = False


def call(name: str, *arguments: Any) -> str:
    """Make a system call by its name; return the name of its error, or `done`."""
    return call_number(_libseccomp.seccomp_syscall_resolve_name(name.encode()), *arguments)


def call_number(number: int, *arguments: Any) -> str:
    """Make a system call by its number; return the name of its error, or `done`."""
    longs = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if _libc.syscall(ctypes.c_long(number), *longs) == -1:
        return errno.errorcode[ctypes.get_errno()]
    return "done"


def every_call(_channel: Channel) -> dict[str, str]:
    """Make every forbidden system call with zeros; return the calls with another error than EPERM."""
    resolve = _libseccomp.seccomp_syscall_resolve_name
    left = {resolve(name.encode()) for name in ALLOWED | HARMLESS_WITH_ZEROS}
    if _IS_X86_64:
        left |= {335, 336}  # probes of the kernel's own, which it never filters and which end a process
    results = {str(number): call_number(number, *[0] * 6) for number in {*range(600)} - left}
    return {number: found for number, found in results.items() if found != "EPERM"}


def calls(channel: Channel) -> dict[str, str]:
    """Make calls with which code could escape; return the result of each."""
    buffer = ctypes.create_string_buffer(SIZE)
    service = _service_pid
    parent = _server_pid
    limits = struct.pack("QQ", 2**40, 2**40)
    region = struct.pack("QQ", ctypes.addressof(buffer), 8)
    thread = 0x003D0F00
    new_user = 0x10000000
    address = struct.pack("HH", 2, 80) + bytes(12)
    return {
        "open a file": call("openat", -100, b"/etc/passwd", os.O_RDONLY, 0),
        "open its parent's environment": call("openat", -100, b"/proc/%d/environ" % parent, 0, 0),
        "open its own memory": call("openat", -100, b"/proc/self/mem", os.O_RDWR, 0),
        "stat a file": call("newfstatat", -100, b"/etc/passwd", buffer, 0),
        "stat by an empty path": call("newfstatat", -100, b"/etc/passwd", buffer, 0x1000),
        "statx a file": call("statx", -100, b"/etc/passwd", 0, 0x7FF, buffer),
        "read a link": call("readlinkat", -100, b"/proc/self/exe", buffer, SIZE),
        "look for a file": call("faccessat", -100, b"/etc/passwd", 0),
        "execute a program": call("execve", b"/bin/true", 0, 0),
        "execute by descriptor": call("execveat", -100, b"/bin/true", 0, 0, 0),
        "make a file in memory": call("memfd_create", b"x", 0),
        "truncate the upload": call("ftruncate", _picture, 0),
        "write to the upload": call("write", _picture, b"x", 1),
        "open a socket": call("socket", 2, 1, 0),
        "open a Unix socket": call("socket", 1, 1, 0),
        "make a pair of sockets": call("socketpair", 1, 1, 0, buffer),
        "connect": call("connect", channel.fileno(), address, 16),
        "send to an address": call("sendto", channel.fileno(), b"x", 1, 0, address, 16),
        "receive an address": call("recvfrom", channel.fileno(), buffer, 1, 0x40, buffer, buffer),
        "send a descriptor": call("sendmsg", channel.fileno(), buffer, 0),
        "receive a descriptor": call("recvmsg", channel.fileno(), buffer, 0),
        "signal its parent": call("kill", parent, 0),
        "signal the service": call("kill", service, 0),
        "signal all": call("kill", -1, 0),
        "signal a thread of its parent": call("tgkill", parent, parent, 0),
        "open its parent as a descriptor": call("pidfd_open", parent, 0),
        "trace its parent": call("ptrace", 16, parent, 0, 0),
        "read its parent's memory": call("process_vm_readv", parent, region, 1, region, 1, 0),
        "read the service's memory": call("process_vm_readv", service, region, 1, region, 1, 0),
        "write its parent's memory": call("process_vm_writev", parent, region, 1, region, 1, 0),
        "fork": call("clone", int(signal.SIGCHLD), 0, 0, 0, 0),
        "fork by another call": call("clone3", buffer, 88),
        "start a thread in new namespaces": call("clone", thread | new_user, 0, 0, 0, 0),
        "enter new namespaces": call("unshare", new_user),
        "lift a limit": call("prlimit64", 0, int(resource.RLIMIT_AS), limits, 0),
        "lift a limit by an old call": call("setrlimit", int(resource.RLIMIT_CPU), limits),
        "read a limit of its parent": call("prlimit64", parent, int(resource.RLIMIT_AS), 0, buffer),
        "read a limit of its own": call("prlimit64", 0, int(resource.RLIMIT_AS), 0, buffer),
        "outlive its parent": call("prctl", 1, 0, 0, 0, 0),
        "be dumpable": call("prctl", 4, 1, 0, 0, 0),
        "change its filter": call("seccomp", 1, 0, buffer),
        "leave its priority": call("setpriority", 0, 0, 0),
        "map new code": call("mmap", 0, 4096, 4 | 1, 0x22, -1, 0),
        "turn data into code": call("mprotect", 0, 4096, 4 | 1),
        "use more memory": call("mmap", 0, 2**36, 1 | 2, 0x22, -1, 0),
        "use a ring of calls": call("io_uring_setup", 1, buffer),
        "load a program into the kernel": call("bpf", 0, buffer, SIZE),
        "read a key": call("keyctl", 0, 0, 0, 0, 0),
        "control a device": call("ioctl", 0, 0x5412, buffer),
        "copy a descriptor": call("dup", 0),
    }


def secrets(_channel: Channel) -> dict[str, Any]:
    """Return the markers in memory, the environment, and open descriptors."""
    found = set()
    pattern = re.compile(rb"MARKER-[0-9a-f]{32}")
    for line in _maps.splitlines():
        match = re.match(r"([0-9a-f]+)-([0-9a-f]+) r\S+ (\S+) \S+ \S+ *(\S*)", line)
        if match and match[4] not in ("[vvar]", "[vvar_vclock]", "[vsyscall]"):
            start, end = int(match[1], 16), int(match[2], 16)
            region = (ctypes.c_char * (end - start)).from_address(start)
            found |= {each.decode() for each in pattern.findall(region)}
    buffer = ctypes.create_string_buffer(SIZE)
    open_ones = [number for number in range(SIZE) if call("fstat", number, buffer) == "done"]
    return {"memory": sorted(found), "environment": sorted(os.environ), "descriptors": open_ones}


def identity(_channel: Channel) -> dict[str, Any]:
    """Return the process id, and whether an earlier job left a trace in the process."""
    global _was_here
    before, _was_here = _was_here, True
    return {"pid": os.getpid(), "was_here": before}


def threads(_channel: Channel) -> dict[str, str]:
    """Return the results of a thread that hostile code starts."""
    found = {}
    thread = threading.Thread(target=lambda: found.update(file=call("openat", -100, b"/", 0, 0)))
    thread.start()
    thread.join()
    return found


def foreign_calls(_channel: Channel) -> dict[str, str]:
    """Make a system call of x32, the other architecture behind the same instruction."""
    return {"survived": call_number(0x40000000 + 39)}


def old_calls(_channel: Channel) -> dict[str, int]:
    """Make a 32-bit system call, getpid, by previously mapped code."""
    return {"survived": ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(_code))()}


def endless(_channel: Channel) -> dict[str, str]:
    """Continue through all signals."""
    for number in (signal.SIGXCPU, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass


def lingering(channel: Channel) -> None:
    """Answer, and continue."""
    channel.send({"rejected": {"code": "picture_broken", "detail": "No.", "members": {}}})
    while True:
        time.sleep(1)


ATTACKS = {
    each.__name__: each
    for each in (
        *(every_call, calls, secrets, identity, threads),
        *(foreign_calls, old_calls, endless, lingering),
    )
}


def prepared_bytes(channel: Channel) -> None:
    """Send prepared bytes, and continue until ended."""
    data = _answer
    while data:
        data = data[_libc.send(channel.fileno(), data, len(data), 0x4000) :]
    time.sleep(600)


def main() -> None:
    """Run the fork server, with an attack in place of a worker's work."""
    global _answer, _service_pid, _server_pid, _code  # noqa: PLW0603 - for the attacks
    name = sys.argv[1]
    _service_pid, _server_pid = os.getppid(), os.getpid()
    attack = ATTACKS.get(name, prepared_bytes)
    if name not in ATTACKS and name != NOTHING:
        _answer = Path(name).read_bytes()
    if name == "old_calls" and _IS_X86_64:
        pages = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        pages.write(b"\xb8\x14\0\0\0\xcd\x80\xc3")
        _code = (ctypes.c_char * 4096).from_buffer(pages)

    class Watching(Confinement):
        def enter(self) -> dict[str, str]:
            global _maps  # noqa: PLW0603 - unreadable afterwards
            _maps = Path("/proc/self/maps").read_text()
            return super().enter()

    def work(channel: Channel, source: BinaryIO, *_: Any) -> None:
        global _picture  # noqa: PLW0603 - for the attacks
        _picture = source.fileno()
        result = attack(channel)
        if result is not None:
            channel.send({"result": result})

    fork_server.Confinement = Watching
    if name != NOTHING:
        worker._answer = work
    if len(sys.argv) > 2:
        MISSING[sys.argv[2]]()
    fork_server.main()


def _without_library() -> None:
    confinement._LIBSECCOMP = "libseccomp-that-is-missing.so.2"


def _without_landlock() -> None:
    _fail((("landlock_create_ruleset", ()),), errno.ENOSYS)


def _without_seccomp() -> None:
    set_seccomp = confinement._Condition(0, 4, 22)
    _fail((("seccomp", ()), ("prctl", (set_seccomp,))), errno.EINVAL)


MISSING = {
    "library": _without_library,
    "landlock": _without_landlock,
    "seccomp": _without_seccomp,
}


def _fail(names: tuple[tuple[str, tuple[Any, ...]], ...], number: int) -> None:
    """Make system calls fail as on a kernel that lacks them."""
    _libseccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(_libseccomp.seccomp_init(ctypes.c_uint32(0x7FFF0000)))
    for name, conditions in names:
        array = (confinement._Condition * len(conditions))(*conditions)
        _libseccomp.seccomp_rule_add_array(
            context,
            ctypes.c_uint32(0x00050000 | number),
            _libseccomp.seccomp_syscall_resolve_name(name.encode()),
            ctypes.c_uint(len(conditions)),
            array,
        )
    assert _libseccomp.seccomp_load(context) == 0


_answer = b""
_service_pid = _server_pid = _picture = 0
_code: Any = None

if __name__ == "__main__":
    main()
