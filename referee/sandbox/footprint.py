"""How much memory a process and everything below it have, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


def processes(root: int) -> list[int]:
    """Return the process and all its descendants that live."""
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        for task in _entries(_PROC / str(pid) / "task"):
            pending += map(int, _read(task / "children").split())
    return found


def memory_bytes(root: int, enough: int) -> int:
    """Return the memory of all processes together; exact only from `enough` on.

    What they share counts once. Where even counting it for each of them comes to less, that is
    returned, since it costs next to nothing to know.
    """
    pids = processes(root)
    resident = {pid: _resident_bytes(pid) for pid in pids}
    if sum(resident.values()) < enough:
        return sum(resident.values())
    return sum(_proportional_bytes(pid, resident[pid]) for pid in pids)


def _resident_bytes(pid: int) -> int:
    fields = _read(_PROC / str(pid) / "statm").split()
    return int(fields[1]) * _PAGE_BYTES if fields else 0


def _proportional_bytes(pid: int, otherwise: int) -> int:
    for line in _read(_PROC / str(pid) / "smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) << 10
    return otherwise


def _entries(directory: Path) -> list[Path]:
    # A process may end while it is looked at; then it has nothing.
    try:
        return list(directory.iterdir())
    except OSError:
        return []


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except OSError:
        return ""
