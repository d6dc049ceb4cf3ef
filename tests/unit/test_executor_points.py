"""Batches of points: merging, thinning, and the binary form that Postgres takes."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from elodrome.executor.v1 import metric_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.executor import points
from services.executor.points import Batch, Stretch


def stretch_of(values: list[float]) -> Stretch:
    return Stretch(np.arange(len(values)), np.array(values, np.float64))


@given(st.lists(st.tuples(st.integers(-3, 20), st.floats()), max_size=60))
def test_a_batch_keeps_the_first_value_of_every_step(sent: list[tuple[int, float]]) -> None:
    batch = Batch()
    for step, value in sent:
        batch.add([metric_pb2.Series(name="loss", steps=[step], values=[value])])
    first: dict[int, float] = {}
    for step, value in sent:
        if step >= 0:
            first.setdefault(step, value)
    kept = batch.stretches.get("loss", stretch_of([]))
    assert kept.steps.tolist() == sorted(first)
    assert all(
        a == b or (math.isnan(a) and math.isnan(b))
        for a, b in zip(kept.values.tolist(), (first[s] for s in sorted(first)), strict=True)
    )
    assert batch.rejected_count == sum(step < 0 for step, _value in sent)
    assert len(kept) + batch.duplicate_count + batch.rejected_count == len(sent)


@given(
    st.lists(st.floats(allow_infinity=False, width=32), min_size=1, max_size=400),
    st.integers(2, 50),
)
def test_thinning_keeps_ends_extremes_and_the_budget(values: list[float], budget: int) -> None:
    whole = stretch_of(values)
    thinned = points.thin(whole, budget)
    assert len(thinned) <= max(budget, 1)
    assert thinned.steps[0] == 0
    assert thinned.steps[-1] == len(values) - 1
    assert (np.diff(thinned.steps) > 0).all()
    finite = [value for value in values if not math.isnan(value)]
    if budget >= 5 and finite:
        assert np.nanmin(thinned.values) == min(finite)
        assert np.nanmax(thinned.values) == max(finite)
    if budget >= 5 and len(finite) < len(values):
        assert np.isnan(thinned.values).any()


def test_copy_stream_is_what_postgres_documents() -> None:
    stretch = Stretch(np.array([3, 5]), np.array([0.5, math.inf]))
    stream = points.copy_stream([(b"r" * 16, 7, 9, stretch)])
    header = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
    fixed = struct.pack(">hi16s", 8, 16, b"r" * 16) + b"".join(
        struct.pack(">iq", 8, value) for value in (7, 9, 3, 5, 2)
    )
    steps = struct.pack(">iiiiii", 44, 1, 0, 20, 2, 1) + struct.pack(">iqiq", 8, 3, 8, 5)
    values = struct.pack(">iiiiii", 44, 1, 0, 701, 2, 1) + struct.pack(">idid", 8, 0.5, 8, math.inf)
    assert stream == header + fixed + steps + values + struct.pack(">h", -1)
    assert points.read_steps(steps[4:]).tolist() == [3, 5]
    assert points.read_values(values[4:]).tolist() == [0.5, math.inf]


def test_taken_steps_are_left_out() -> None:
    left = points.without(stretch_of([0.0, 1.0, 2.0]), np.array([1, 7]))
    assert left.steps.tolist() == [0, 2]


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "ü", "a\n"])
def test_a_series_needs_a_plain_name(name: str) -> None:
    with pytest.raises(Exception, match="series"):
        Batch().add([metric_pb2.Series(name=name, steps=[1], values=[1.0])])
