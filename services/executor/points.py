"""Batches of points as numpy arrays: checked, merged, thinned, and laid out for COPY."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kit import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elodrome.executor.v1 import metric_pb2
    from numpy.typing import NDArray

    Steps = NDArray[np.int64]
    Values = NDArray[np.float64]

MAX_STEP = 1 << 53
MAX_BATCH_POINTS = 50_000
MAX_REPORTED_REJECTIONS = 100

_NAME = re.compile(r"[A-Za-z0-9_./-]{1,128}")
_INT8_OID = 20
_FLOAT8_OID = 701
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_COPY_TRAILER = struct.pack(">h", -1)


@dataclass(frozen=True)
class Rejection:
    """A point that cannot be stored, by its series and place as sent."""

    name: str
    index: int
    reason: str


@dataclass
class Stretch:
    """Points of one series: steps ascending, none twice."""

    steps: Steps
    values: Values

    def __len__(self) -> int:
        return len(self.steps)

    def pick(self, wanted: NDArray[np.bool_]) -> Stretch:
        """Return the points where `wanted` is true."""
        return Stretch(self.steps[wanted], self.values[wanted])


@dataclass
class Batch:
    """What one or more messages bring, by series name."""

    stretches: dict[str, Stretch] = field(default_factory=dict)
    duplicate_count: int = 0
    rejected_count: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def point_count(self) -> int:
        """Points in all series together."""
        return sum(len(stretch) for stretch in self.stretches.values())

    def add(self, series: Iterable[metric_pb2.Series]) -> None:
        """Take in one message; of two values for one step the first stays.

        Raises INVALID_ARGUMENT for a wrong name, lists of different length or too many points.
        """
        checked = list(series)
        if sum(len(item.steps) for item in checked) > MAX_BATCH_POINTS:
            raise errors.invalid_argument(
                "series", f"must hold at most {MAX_BATCH_POINTS} points", maximum=MAX_BATCH_POINTS
            )
        for place, item in enumerate(checked):
            check_name(item.name, f"series[{place}].name")
            if len(item.steps) != len(item.values):
                raise errors.invalid_argument(
                    f"series[{place}]", "must have as many steps as values"
                )
        for item in checked:
            self._add_one(item)

    def _add_one(self, item: metric_pb2.Series) -> None:
        steps = np.array(item.steps, np.int64)
        values = np.array(item.values, np.float64)
        valid = (steps >= 0) & (steps <= MAX_STEP)
        if not valid.all():
            self._reject(item.name, np.flatnonzero(~valid))
            steps, values = steps[valid], values[valid]
        if not len(steps):
            return
        earlier = self.stretches.get(item.name)
        if earlier is not None:
            steps = np.concatenate([earlier.steps, steps])
            values = np.concatenate([earlier.values, values])
        if (np.diff(steps) <= 0).any():
            count = len(steps)
            steps, first = np.unique(steps, return_index=True)
            values = values[first]
            self.duplicate_count += count - len(steps)
        self.stretches[item.name] = Stretch(steps, values)

    def _reject(self, name: str, indexes: NDArray[np.intp]) -> None:
        self.rejected_count += len(indexes)
        room = MAX_REPORTED_REJECTIONS - len(self.rejections)
        reason = f"the step must lie in 0..{MAX_STEP}"
        self.rejections += [Rejection(name, int(index), reason) for index in indexes[:room]]


def check_name(name: str, label: str) -> None:
    """Raise INVALID_ARGUMENT unless this can be the name of a series."""
    if not _NAME.fullmatch(name):
        raise errors.invalid_argument(label, "must be 1..128 letters, digits, '_', '.', '/' or '-'")


def without(stretch: Stretch, taken: Steps) -> Stretch:
    """Return the points whose step is not taken."""
    return stretch.pick(~np.isin(stretch.steps, taken))


def copy_stream(rows: Sequence[tuple[bytes, int, int, Stretch]]) -> bytes:
    """Lay out rows of `metric_chunks` for COPY BINARY.

    A row is (run id as 16 bytes, series id, update sequence, stretch); its columns in the table's
    order are run_id, series_id, update_sequence, first_step, last_step, point_count, steps, values.
    """
    pieces = [_COPY_HEADER]
    for run_id, series_id, sequence, stretch in rows:
        count = len(stretch)
        pieces += [
            struct.pack(">hi", 8, 16),
            run_id,
            _int8(series_id),
            _int8(sequence),
            _int8(int(stretch.steps[0])),
            _int8(int(stretch.steps[-1])),
            _int8(count),
            _array(stretch.steps, ">i8", _INT8_OID),
            _array(stretch.values, ">f8", _FLOAT8_OID),
        ]
    pieces.append(_COPY_TRAILER)
    return b"".join(pieces)


def _int8(value: int) -> bytes:
    return struct.pack(">iq", 8, value)


def _array(values: Steps | Values, dtype: str, oid: int) -> bytes:
    """Return a one-dimensional array without nulls, as Postgres sends and receives it."""
    body = np.empty(len(values), np.dtype([("length", ">i4"), ("item", dtype)]))
    body["length"] = 8
    body["item"] = values
    header = struct.pack(">iiiii", 1, 0, oid, len(values), 1)
    return struct.pack(">i", len(header) + body.nbytes) + header + body.tobytes()


def read_steps(sent: bytes) -> Steps:
    """Read what `array_send` gives for steps."""
    return _items(sent, ">i8").astype(np.int64)


def read_values(sent: bytes) -> Values:
    """Read what `array_send` gives for values."""
    return _items(sent, ">f8").astype(np.float64)


def _items(sent: bytes, dtype: str) -> NDArray[Any]:
    body = np.frombuffer(sent, np.dtype([("length", ">i4"), ("item", dtype)]), offset=20)
    return body["item"]


def join(stretches: Sequence[Stretch]) -> Stretch:
    """Join chunks of one series, ascending by step."""
    if not stretches:
        return Stretch(np.empty(0, np.int64), np.empty(0, np.float64))
    steps = np.concatenate([stretch.steps for stretch in stretches])
    values = np.concatenate([stretch.values for stretch in stretches])
    order = np.argsort(steps, kind="stable")
    return Stretch(steps[order], values[order])


def thin(stretch: Stretch, max_points: int) -> Stretch:
    """Return at most `max_points` points, with the least and the greatest of every stretch.

    The ends stay, and of every stretch with NaN one NaN stays, so that nothing looks healthier
    than it was.
    """
    count = len(stretch)
    if count <= max_points:
        return stretch
    if max_points < 5:  # noqa: PLR2004 - the ends and one bucket of three need five
        keep = np.linspace(0, count - 1, max_points).astype(np.intp)
        return Stretch(stretch.steps[keep], stretch.values[keep])
    bucket_count = (max_points - 2) // 3
    inner = np.arange(1, count - 1)
    buckets = (inner - 1) * bucket_count // (count - 2)
    starts = np.flatnonzero(np.diff(buckets, prepend=-1))
    values = stretch.values[1:-1]
    missing = np.isnan(values)
    low = _first_of(starts, buckets, np.where(missing, np.inf, values), np.minimum)
    high = _first_of(starts, buckets, np.where(missing, -np.inf, values), np.maximum)
    nan = inner[missing]
    nan = nan[np.unique(buckets[missing], return_index=True)[1]]
    keep = np.unique(np.concatenate([[0, count - 1], low, high, nan]))
    return Stretch(stretch.steps[keep], stretch.values[keep])


def _first_of(
    starts: NDArray[np.intp], buckets: NDArray[np.intp], values: Values, extreme: np.ufunc
) -> NDArray[np.intp]:
    """Return where in the whole stretch each bucket first has its extreme value."""
    is_extreme = values == extreme.reduceat(values, starts)[buckets]
    places = np.flatnonzero(is_extreme)
    first = np.unique(buckets[places], return_index=True)[1]
    return places[first] + 1
