"""What the runner takes from its own process before it runs code that nobody trusts."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from typing import TYPE_CHECKING

from referee.sandbox import seccomp

if TYPE_CHECKING:
    from elodrome.evaluator.v1.seat_pb2 import Confine

LARGEST_FILE_BYTES = 16 << 20
OPEN_FILES = 64
_PR_CAPBSET_DROP = 24
_CAPABILITY_VERSION_3 = 0x20080522


def become(uid: int) -> None:
    """Become a user and a group of this number, with no capability and no way to get one.

    Takes CAP_SETUID, CAP_SETGID and CAP_SETPCAP; raises OSError without.
    """
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:  # noqa: PTH123 - pathlib takes 10 ms to load
        last = int(file.read())
    for capability in range(last + 1):
        seccomp.prctl(_PR_CAPBSET_DROP, capability)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    # The kernel takes its capabilities from whoever stops being root, but not the inheritable.
    os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    if ctypes.CDLL(None).capset(header, bytes(24)):
        raise OSError("inheritable capabilities could not be dropped")


def confine(limits: Confine) -> None:
    """Limit this process and all that it starts; nothing can lift it. Raises OSError."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_DATA, limits.memory_bytes),
        (resource.RLIMIT_NPROC, limits.process_count),
        (resource.RLIMIT_CPU, limits.cpu_time_s),
        (resource.RLIMIT_FSIZE, LARGEST_FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    # Seats have cores of their own where there are enough.
    cores = sorted(os.sched_getaffinity(0))
    first = limits.seat * limits.cpu_count
    taken = {cores[(first + offset) % len(cores)] for offset in range(limits.cpu_count)}
    os.sched_setaffinity(0, taken)
    seccomp.install()
