from __future__ import annotations

import gc
from pathlib import Path

import pytest

from trainer.shared import Column, SharedArrays

COLUMNS = {
    "frames": Column((3, 5), "uint8"),
    "nothing": Column((4, 0), "float32"),
    "rewards": Column((3,), "float32"),
    "total": Column((), "int64"),
}


def memories() -> list[str]:
    """The shared blocks that this process has open or mapped."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    mapped = Path("/proc/self/maps").read_text().splitlines()
    return [name for name in opened + mapped if "memfd:elodrome" in name]


def test_arrays_have_their_shapes_and_are_zero() -> None:
    arrays = SharedArrays(COLUMNS)
    for name, column in COLUMNS.items():
        assert arrays[name].shape == column.shape
        assert arrays[name].dtype == column.dtype
        assert not arrays[name].any()


def test_arrays_do_not_overlap_and_lie_on_cache_lines() -> None:
    arrays = SharedArrays(COLUMNS)
    for value, name in enumerate(COLUMNS, start=1):
        arrays[name][...] = value
    assert [int(arrays[name].max(initial=0)) for name in COLUMNS] == [1, 0, 3, 4]
    starts = [arrays[name].__array_interface__["data"][0] for name in ("frames", "rewards")]
    assert all(start % 64 == 0 for start in starts)
    assert arrays.size_bytes == 3 * 64


def test_memory_has_no_name_and_goes_with_its_last_holder() -> None:
    gc.collect()
    before = len(memories())
    files = set(Path("/dev/shm").iterdir())
    arrays = SharedArrays(COLUMNS)
    assert len(memories()) > before
    new = set(Path("/dev/shm").iterdir()) - files
    assert not [path for path in new if "elodrome" in path.name]
    view = arrays["rewards"]
    del arrays
    view[:] = 1  # Somebody still looks at it.
    del view
    gc.collect()
    assert len(memories()) == before


def test_more_memory_than_there_is_is_refused_at_once() -> None:
    with pytest.raises(MemoryError, match=r"Unable to allocate \d+\.\d GiB of \d+\.\d GiB"):
        SharedArrays({"frames": Column((2**20, 2**30), "uint8")})


def test_size_of_a_column_is_whole_cache_lines() -> None:
    assert Column((65,), "uint8").size_bytes == 128
    assert Column((0, 7), "float32").size_bytes == 0
    assert Column((2**20, 2**20), "uint16").size_bytes == 2**41
