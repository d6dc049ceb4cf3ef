"""Files named by their SHA-256, behind one object store: a local directory or an S3 bucket.

A file is first staged: written to a private name, hashed on the way and synced. It gets its final
name in one atomic step and only with the right content, so whoever finds a file finds all of it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from kit import errors, failpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from datetime import datetime

P = ParamSpec("P")
Result = TypeVar("Result")

READ_BYTES = 1 << 20
MISSING = "the file is missing"
CHANGED = "its content has another digest"

_PREFIX = "sha256"
_STAGING = ".staging"
_THREADS = 4
_PART_BYTES = 8 << 20
_PARTS_IN_FLIGHT = 4
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_LIST_BATCH = 500


@dataclass(frozen=True)
class Stored:
    """One file in the store."""

    sha256: str
    size_bytes: int
    update_time: datetime


class Staged:
    """A file on its way in; its methods block, so the store calls them in threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._file = path.open("xb", buffering=0)

    def write(self, pieces: Sequence[bytes]) -> None:
        """Append the pieces and hash them."""
        for piece in pieces:
            self._hash.update(piece)
            view = memoryview(piece)
            while view:
                view = view[self._file.write(view) :]
            self.size_bytes += len(piece)

    def finish(self) -> str:
        """Put the file on the disk for good and return its SHA-256."""
        os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def remove(self) -> None:
        """Forget the file; what was stored from it stays."""
        self._file.close()
        self.path.unlink(missing_ok=True)


class ArtifactStore:
    """The files of an install. Blocking work runs in a few threads of its own."""

    def __init__(
        self, url: str, staging_dir: Path, credentials: Mapping[str, str] | None = None
    ) -> None:
        self._root = _local_root(url)
        if self._root is not None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self._root)
            # A file gets its name in one step only within one file system.
            staging_dir = self._root / _STAGING
        else:
            # Which names a configuration may have depends on the scheme, not known to a checker.
            config: Any = dict(credentials or {})
            self._store = from_url(url, config=config)
        self._staging = staging_dir
        self._staging.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="artifacts")

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def check(self) -> None:
        """Raise STORAGE_UNAVAILABLE where the store does not answer, STORAGE_FULL without room."""
        try:
            free_bytes = await self.in_thread(_free_bytes, self._staging)
        except FileNotFoundError as error:
            raise _unreachable() from error
        if not free_bytes:
            raise _storage_full()
        await self.size("0" * 64)

    async def in_thread(
        self, work: Callable[P, Result], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Run blocking work in one of the store's threads."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: work(*args, **kwargs))

    @asynccontextmanager
    async def staged(self, size_bytes: int) -> AsyncIterator[Staged]:
        """Open a new file; it is gone at the end of the block unless it was stored.

        `size_bytes` is what will be needed, 0 when unknown. Raises STORAGE_FULL.
        """
        with _explained():
            if size_bytes > _free_bytes(self._staging):
                raise _storage_full()
            staged = await self.in_thread(Staged, self._staging / f"{uuid.uuid4()}.part")
        try:
            yield staged
        finally:
            # Not awaited as an ordinary call: a cancelled upload must not leave its file.
            await asyncio.shield(self.in_thread(staged.remove))

    async def append(self, staged: Staged, pieces: Sequence[bytes]) -> None:
        """Write the pieces to the end of a staged file; raises STORAGE_FULL."""
        with _explained():
            await asyncio.shield(self.in_thread(staged.write, pieces))

    async def finish(self, staged: Staged) -> str:
        """Put a staged file on the disk for good and return its SHA-256."""
        with _explained():
            return await asyncio.shield(self.in_thread(staged.finish))

    async def put(self, staged: Staged, sha256: str) -> None:
        """Store a finished file under its digest, replacing what is there, damaged or not."""
        with _explained():
            if self._root is not None:
                await self.in_thread(_link, staged.path, self._root / _key(sha256))
            else:
                await obstore.put_async(
                    self._store,
                    _key(sha256),
                    staged.path,
                    chunk_size=_PART_BYTES,
                    max_concurrency=_PARTS_IN_FLIGHT,
                )
        failpoint.hit("artifact.stored")

    async def size(self, sha256: str) -> int | None:
        """Return the size of a stored file in bytes, or None when there is none."""
        with _explained():
            try:
                return (await obstore.head_async(self._store, _key(sha256)))["size"]
            except FileNotFoundError:
                return None

    async def delete(self, sha256: str) -> None:
        """Remove a file; removing it again is allowed."""
        with _explained():
            try:
                await obstore.delete_async(self._store, _key(sha256))
            except FileNotFoundError:
                return

    async def read(self, sha256: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Yield the bytes `start`..`end` (exclusive) in pieces of about 1 MiB.

        Raises FileNotFoundError when there is no such file.
        """
        if start == end:
            return
        with _explained():
            found = await obstore.get_async(
                self._store, _key(sha256), options={"range": (start, end)}
            )
            async for piece in found.stream(min_chunk_size=READ_BYTES):
                yield bytes(piece)

    async def damage(self, sha256: str, size_bytes: int) -> str:
        """Read a whole file; return what is wrong with it, or nothing."""
        found = await self.size(sha256)
        if found is None:
            return MISSING
        if found != size_bytes:
            return f"it has {found} bytes instead of {size_bytes}"
        digest = hashlib.sha256()
        async for piece in self.read(sha256, 0, size_bytes):
            await self.in_thread(digest.update, piece)
        return "" if digest.hexdigest() == sha256 else CHANGED

    async def files(self) -> AsyncIterator[list[Stored]]:
        """Yield every stored file, a few hundred at a time."""
        with _explained():
            async for batch in obstore.list(self._store, _PREFIX, chunk_size=_LIST_BATCH):
                yield [
                    Stored(entry["path"].rpartition("/")[2], entry["size"], entry["last_modified"])
                    for entry in batch
                ]

    async def remove_abandoned(self, age_s: float) -> int:
        """Remove staged files that nobody has written to for `age_s` seconds; return how many."""
        return await self.in_thread(_remove_old, self._staging, age_s)


def _local_root(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _key(sha256: str) -> str:
    return f"{_PREFIX}/{sha256[:2]}/{sha256}"


def _link(source: Path, target: Path) -> None:
    """Give the file a second name in one atomic step; the first name stays."""
    target.parent.mkdir(parents=True, exist_ok=True)
    spare = source.with_suffix(".link")
    os.link(source, spare)
    spare.replace(target)
    for directory in (target.parent, target.parent.parent):
        _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free_bytes(directory: Path) -> int:
    free = os.statvfs(directory)
    return free.f_bavail * free.f_frsize


def _remove_old(directory: Path, age_s: float) -> int:
    limit = time.time() - age_s
    old = [path for path in directory.iterdir() if path.stat().st_mtime < limit]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


@contextmanager
def _explained() -> Iterator[None]:
    """Tell a full disk and a store that does not answer from a bug."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise _storage_full() from error
        raise _unreachable() from error
    except BaseError as error:
        raise _unreachable() from error


def _storage_full() -> errors.RpcError:
    return errors.resource_exhausted(
        "no space is left to store the file",
        reason="STORAGE_FULL",
        retry_after_s=60,
        http_status=507,
    )


def _unreachable() -> errors.RpcError:
    return errors.unavailable(
        "the artifact store does not answer", reason="STORAGE_UNAVAILABLE", retry_after_s=5
    )
