"""Named arrays in one block of memory that several processes see, and that nobody has to remove.

The block has no name in the file system: it goes with the last process that holds it, however that
process ends.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from multiprocessing.reduction import DupFd
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

# A cache line, and what vector instructions like best.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Column:
    """Shape and dtype of one array."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size_bytes(self) -> int:
        """Bytes of the array, rounded up to whole alignments."""
        wanted = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize
        return -(-wanted // _ALIGNMENT) * _ALIGNMENT


class SharedArrays:
    """Arrays by name, all zero at first; pickling one for a child process shares the memory."""

    def __init__(self, columns: Mapping[str, Column], descriptor: int | None = None) -> None:
        """Allocate the memory, or map what `descriptor` names; takes the descriptor over.

        Raises MemoryError where the machine does not have as much.
        """
        self.columns = dict(columns)
        self.size_bytes = sum(column.size_bytes for column in columns.values()) or _ALIGNMENT
        if descriptor is None:
            _check_memory(self.size_bytes)
            descriptor = os.memfd_create("elodrome")
            os.ftruncate(descriptor, self.size_bytes)
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, self.size_bytes)
        self._arrays: dict[str, NDArray[Any]] = {}
        offset = 0
        for name, column in columns.items():
            count = int(np.prod(column.shape, dtype=np.int64))
            flat = np.frombuffer(self._memory, column.dtype, count, offset)
            self._arrays[name] = flat.reshape(column.shape)
            offset += column.size_bytes

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __reduce__(self) -> tuple[Callable[..., SharedArrays], tuple[object, ...]]:
        return _attach, (self.columns, DupFd(self._descriptor))


def _check_memory(size_bytes: int) -> None:
    """Refuse at once what would be granted now and missing only as it is written to."""
    there_is = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size_bytes > there_is:
        sizes = f"{size_bytes / 2**30:.1f} GiB of {there_is / 2**30:.1f} GiB"
        raise MemoryError(f"Unable to allocate {sizes} of memory")


def _attach(columns: Mapping[str, Column], duplicate: Any) -> SharedArrays:  # noqa: ANN401 - no public type
    return SharedArrays(columns, duplicate.detach())
