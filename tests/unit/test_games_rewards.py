from __future__ import annotations

from dataclasses import replace

import pytest

from games.doom.rewards import RewardWeights, Snapshot, events_between

ALIVE = Snapshot(
    kills=2,
    deaths=1,
    frags=2,
    health=80.0,
    armor=20.0,
    weapons=(0, 1, 0, 0, 0, 0, 0),
    ammo=(0, 30, 0, 0, 0, 0, 0),
    position=(10.0, 20.0),
)


@pytest.mark.parametrize(
    ("change", "events"),
    [
        ({}, {}),
        ({"kills": 4, "frags": 4}, {"kill": 2}),
        ({"health": 90.0}, {"medikit": 1}),
        ({"health": 55.0}, {"injured": 1}),
        ({"armor": 45.0}, {"armor": 1}),
        ({"armor": 5.0, "health": 70.0}, {"injured": 1}),
        ({"weapons": (0, 1, 1, 0, 0, 0, 0)}, {"weapon": 1}),
        ({"ammo": (0, 29, 0, 0, 0, 0, 0)}, {"use_ammo": 1}),
        ({"ammo": (0, 40, 8, 0, 0, 0, 0)}, {"ammo": 1}),
        ({"position": (13.0, 24.0)}, {"distance": 5.0}),
        ({"deaths": 2, "health": 100.0, "ammo": (0, 50, 0, 0, 0, 0, 0)}, {"death": 1}),
        ({"deaths": 2, "frags": 1, "position": (0.0, 0.0)}, {"suicide": 1}),
    ],
)
def test_events_tell_what_changed(change: dict[str, object], events: dict[str, float]) -> None:
    found = events_between(ALIVE, replace(ALIVE, **change))
    assert {event.kind: event.amount for event in found} == events


def test_reward_is_the_weighted_sum_of_events() -> None:
    after = replace(ALIVE, kills=3, frags=3, health=70.0, position=(13.0, 24.0))
    weights = RewardWeights(kill=10.0, injured=-1.5, distance=0.1)
    assert weights.total(events_between(ALIVE, after)) == pytest.approx(10.0 - 1.5 + 0.5)
    assert weights.shapes
    assert not RewardWeights().shapes
