from __future__ import annotations

import pytest

from games.doom.rewards import REWARD_KINDS, EventReader, RewardWeights
from games.events import EVENT_TYPES, EventType

ALIVE = {
    "KILLCOUNT": 2.0,
    "FRAGCOUNT": 2.0,
    "DEATHCOUNT": 1.0,
    "HEALTH": 80.0,
    "ARMOR": 20.0,
    **{f"WEAPON{slot}": float(slot == 2) for slot in range(1, 8)},
    "AMMO2": 30.0,
    "AMMO3": 0.0,
    "AMMO5": 4.0,
    "AMMO6": 0.0,
    "HITCOUNT": 3.0,
    "POSITION_X": 10.0,
    "POSITION_Y": 20.0,
}


def events(
    change: dict[str, float], kinds: tuple[str, ...] = REWARD_KINDS, before: dict | None = None
) -> dict[str, float]:
    reader = EventReader(kinds)
    first = ALIVE | (before or {})
    second = first | change
    found = reader.events(
        tuple(first[name] for name in reader.variables),
        tuple(second[name] for name in reader.variables),
    )
    return {event.kind: event.amount for event in found}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {}),
        ({"KILLCOUNT": 4.0}, {"kill": 2}),
        ({"FRAGCOUNT": 3.0}, {"kill": 1}),
        ({"HEALTH": 90.0}, {"medikit": 1}),
        ({"HEALTH": 55.0}, {"injured": 1}),
        ({"ARMOR": 45.0}, {"armor": 1}),
        ({"ARMOR": 5.0, "HEALTH": 70.0}, {"injured": 1}),
        ({"WEAPON3": 1.0}, {"weapon": 1}),
        ({"WEAPON2": 0.0}, {}),
        ({"AMMO2": 29.0}, {"use_ammo": 1}),
        ({"AMMO2": 40.0, "AMMO3": 8.0}, {"ammo": 2}),
        ({"AMMO2": 40.0, "AMMO5": 3.0}, {"ammo": 1, "use_ammo": 1}),
        ({"HITCOUNT": 5.0}, {"hit": 2}),
        ({"POSITION_X": 13.0, "POSITION_Y": 24.0}, {"distance": 5.0}),
        ({"DEATHCOUNT": 2.0, "HEALTH": -3.0, "AMMO2": 50.0}, {"death": 1}),
        ({"DEATHCOUNT": 2.0, "HEALTH": 100.0, "KILLCOUNT": 3.0}, {"kill": 1, "death": 1}),
        ({"DEATHCOUNT": 2.0, "FRAGCOUNT": 1.0, "POSITION_X": 0.0}, {"suicide": 1}),
    ],
)
def test_events_tell_what_changed(change: dict[str, float], expected: dict[str, float]) -> None:
    assert events(change) == expected


@pytest.mark.parametrize("change", [{"HEALTH": 100.0, "AMMO3": 50.0}, {"HEALTH": -40.0}])
def test_nothing_happens_to_the_dead(change: dict[str, float]) -> None:
    assert events(change, before={"HEALTH": -5.0}) == {}


def test_only_weighted_kinds_are_read() -> None:
    assert events({"HEALTH": 10.0, "ARMOR": 45.0}, kinds=("armor",)) == {"armor": 1}
    assert events({"DEATHCOUNT": 2.0}, kinds=("suicide",)) == {}
    assert "POSITION_X" not in EventReader(("armor", "kill")).variables
    assert RewardWeights(armor=0.5, kill=1.0).kinds == ("kill", "armor")
    assert RewardWeights().kinds == ()


def test_scripted_life_gives_the_golden_events_and_reward() -> None:
    weights = RewardWeights(
        kill=5.0,
        death=-5.0,
        suicide=-4.0,
        medikit=1.0,
        armor=1.5,
        injured=-1.0,
        weapon=2.0,
        ammo=0.5,
        use_ammo=-0.2,
        distance=0.01,
    )
    life: list[tuple[dict[str, float], float]] = [
        ({"POSITION_X": 110.0}, 1.0),
        ({"AMMO2": 29.0}, -0.2),
        ({"AMMO2": 28.0, "KILLCOUNT": 3.0, "HEALTH": 60.0}, 5.0 - 1.0 - 0.2),
        ({"WEAPON3": 1.0, "AMMO3": 8.0}, 2.0 + 0.5),
        ({"HEALTH": 85.0, "ARMOR": 100.0}, 1.0 + 1.5),
        ({"FRAGCOUNT": 4.0}, 10.0),
        ({"DEATHCOUNT": 2.0, "HEALTH": -12.0}, -5.0),
        ({"HEALTH": 100.0, "ARMOR": 0.0, "AMMO2": 50.0, "POSITION_X": -500.0}, 0.0),
        ({"DEATHCOUNT": 3.0, "FRAGCOUNT": 3.0, "HEALTH": 0.0}, -4.0),
    ]
    reader, now, total = EventReader(weights.kinds), dict(ALIVE), 0.0
    seen: list[str] = []
    for change, reward in life:
        before = tuple(now[name] for name in reader.variables)
        now |= change
        found = reader.events(before, tuple(now[name] for name in reader.variables))
        assert weights.total(found) == pytest.approx(reward), change
        total += weights.total(found)
        seen += [event.type for event in found]
    assert total == pytest.approx(10.6)
    assert seen == [
        *("DISTANCE_MOVED", "AMMO_CHANGE", "KILL", "HEALTH_CHANGE", "AMMO_CHANGE"),
        *("WEAPON_FOUND", "AMMO_CHANGE", "HEALTH_CHANGE", "ARMOR_CHANGE"),
        *("KILL", "DEATH", "SUICIDE"),
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kill", EventType.KILL),
        ("ammo_lost", EventType.AMMO_CHANGE),
        ("health_lost", EventType.HEALTH_CHANGE),
        ("death", EventType.DEATH),
        ("PICKUP", EventType.ITEM_PICKUP),
        ("DAMAGE", EventType.DAMAGE_DEALT),
        ("HEALTH_LOST", EventType.HEALTH_CHANGE),
        ("armor", EventType.ARMOR_CHANGE),
        ("weapon_found", EventType.WEAPON_FOUND),
        ("weapon_switched", EventType.WEAPON_SWITCHED),
        ("suicide", EventType.SUICIDE),
        ("medikit", EventType.HEALTH_CHANGE),
        ("respawn", EventType.RESPAWN),
    ],
)
def test_every_name_in_a_log_has_one_type(name: str, expected: EventType) -> None:
    assert EVENT_TYPES[name] is expected


def test_every_reward_has_a_type() -> None:
    assert set(REWARD_KINDS) <= set(EVENT_TYPES)
