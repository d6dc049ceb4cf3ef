"""What lies unread in the UDP sockets of other processes, as the kernel counts it (proc(5))."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_TABLE = Path("/proc/net/udp")
_QUEUES, _INODE = 4, 9


class Inboxes:
    """The sockets that some processes have now; on a system that does not tell, there are none."""

    def __init__(self, pids: Iterable[int]) -> None:
        """Find them."""
        own = {socket for pid in pids for socket in _sockets(pid)}
        self._inodes = [inode for inode in _unread() if inode in own]

    def unread(self) -> list[int]:
        """Count the bytes in each, the kernel's own included, so at least one a datagram."""
        unread = _unread()
        return [unread.get(inode, 0) for inode in self._inodes]


def _sockets(pid: int) -> set[str]:
    try:
        links = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return set()
    return {link.removeprefix("socket:[").removesuffix("]") for link in links}


def _unread() -> dict[str, int]:
    """Answer the unread bytes of every socket by its inode."""
    try:
        rows = [line.split() for line in _TABLE.read_text().splitlines()[1:]]
    except OSError:
        return {}
    return {row[_INODE]: int(row[_QUEUES].partition(":")[2], 16) for row in rows}
