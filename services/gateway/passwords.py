"""Password hashes: argon2id, off the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

_MAX_WAITING = 64
# From glibc's malloc.h.
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 1 << 20


class Passwords:
    """Hashes and checks passwords in `threads` threads; refuses work when too much waits."""

    def __init__(self, threads: int, memory_kib: int) -> None:
        _give_back_large_blocks()
        self._hasher = PasswordHasher(time_cost=2, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._waiting = 0
        # Checked when there is no such account, so that the time taken tells nothing.
        self._nobody = self._hasher.hash("nobody has this password")

    async def hash(self, password: str) -> str:
        """Return the hash to store."""
        return await self._run(self._hasher.hash, password)

    async def check(self, password_hash: str | None, password: str) -> bool:
        """Say whether the password is right; None stands for an account that does not exist."""
        right = await self._run(self._matches, password_hash or self._nobody, password)
        return right and password_hash is not None

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[..., Result], *arguments: str) -> Result:
        if self._waiting >= _MAX_WAITING:
            raise errors.resource_exhausted(
                "too many people sign in at once", reason="SIGN_IN_BUSY", retry_after_s=2
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, work, *arguments)
        finally:
            self._waiting -= 1

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerifyMismatchError, InvalidHashError):
            return False


def _give_back_large_blocks() -> None:
    """Keep glibc from keeping the memory of each hash.

    It learns from the first freed block of 19 MiB that such blocks are common and holds on to the
    next ones, one a thread; a fixed threshold makes each a mapping that goes when it is freed.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
