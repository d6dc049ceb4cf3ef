from __future__ import annotations

import pytest

from trainer.schedules import linear


@pytest.mark.parametrize(
    ("step", "value"), [(0, 1.0), (100, 1.0), (200, 0.775), (300, 0.55), (500, 0.1), (9999, 0.1)]
)
def test_a_schedule_falls_in_a_straight_line(step: int, value: float) -> None:
    assert linear(step, start=100, stop=500, first=1.0, last=0.1) == pytest.approx(value)


def test_a_schedule_rises_as_well() -> None:
    assert linear(3, start=0, stop=4, first=0.4, last=1.0) == pytest.approx(0.85)
