"""Ends a sandbox of this machine when all its processes together have more than they may."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Self

from referee.sandbox import footprint
from referee.sandbox.sandboxes import Death

if TYPE_CHECKING:
    from types import TracebackType

# All processes of a seat share its cores, so there is not much that they can take in between.
_EVERY_S = 0.03
# Files take memory of the kernel that the size of a tmpfs does not limit.
MOST_FILES = 10_000
TMP = "/tmp"  # noqa: S108 - that of the sandbox


class Guard:
    """Looks at a sandbox while it is entered; `verdict` says why it ended it, if it did."""

    def __init__(self, pid: int, pidfd: int, memory_bytes: int) -> None:
        """Guard the process and all below it."""
        self._pid = pid
        self._pidfd = pidfd
        self._memory_bytes = memory_bytes
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sandbox-guard", daemon=True)
        self.verdict: Death | None = None

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop looking."""
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while self.verdict is None and not self._is_over.wait(_EVERY_S):
            excess = self._excess()
            if excess:
                self.verdict = Death(excess, is_memory=True)
                kill(self._pidfd)

    def _excess(self) -> str:
        """Say what there is too much of; empty where there is not."""
        files_bytes = files = 0
        # It may be gone by now.
        with contextlib.suppress(OSError):
            tmp = os.statvfs(f"/proc/{self._pid}/root{TMP}")
            files_bytes = (tmp.f_blocks - tmp.f_bfree) * tmp.f_frsize
            files = tmp.f_files - tmp.f_ffree
        if files > MOST_FILES:
            return f"it had more than {MOST_FILES:,} files"
        memory = footprint.memory_bytes(self._pid, self._memory_bytes - files_bytes)
        if memory + files_bytes > self._memory_bytes:
            return f"it took more than {self._memory_bytes >> 20} MiB of memory"
        return ""


def kill(pidfd: int) -> None:
    """End a process, and if it is the first of a pid namespace all others of that."""
    # It may have ended by itself.
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
