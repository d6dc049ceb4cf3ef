"""Shaped reward is a weighted sum of typed events, each read from two snapshots of the game."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from math import dist
from typing import TYPE_CHECKING

from games.interface import GameEvent

if TYPE_CHECKING:
    from collections.abc import Mapping

WEAPON_SLOTS = tuple(range(1, 8))


@dataclass(frozen=True)
class RewardWeights:
    """Points per event of each kind; `distance` is per map unit moved."""

    kill: float = 0.0
    death: float = 0.0
    suicide: float = 0.0
    medikit: float = 0.0
    armor: float = 0.0
    injured: float = 0.0
    weapon: float = 0.0
    ammo: float = 0.0
    use_ammo: float = 0.0
    distance: float = 0.0

    def total(self, events: tuple[GameEvent, ...]) -> float:
        """Sum of weight times amount over `events`."""
        weights = asdict(self)
        return sum(weights[event.kind] * event.amount for event in events)

    @property
    def shapes(self) -> bool:
        """Whether any weight is set, so that events need to be read at all."""
        return any(asdict(self).values())


REWARD_KINDS: tuple[str, ...] = tuple(entry.name for entry in fields(RewardWeights))


@dataclass(frozen=True)
class Snapshot:
    """What the reward looks at: counts of the episode, levels, the position in map units."""

    kills: int
    deaths: int
    frags: int
    health: float
    armor: float
    weapons: tuple[int, ...]
    ammo: tuple[int, ...]
    position: tuple[float, float]

    @classmethod
    def of(cls, variables: Mapping[str, float]) -> Snapshot:
        """Read a snapshot from engine variables by name."""
        return cls(
            kills=int(variables["KILLCOUNT"]),
            deaths=int(variables["DEATHCOUNT"]),
            frags=int(variables["FRAGCOUNT"]),
            health=variables["HEALTH"],
            armor=variables["ARMOR"],
            weapons=tuple(int(variables[f"WEAPON{slot}"]) for slot in WEAPON_SLOTS),
            ammo=tuple(int(variables[f"AMMO{slot}"]) for slot in WEAPON_SLOTS),
            position=(variables["POSITION_X"], variables["POSITION_Y"]),
        )


def events_between(before: Snapshot, after: Snapshot) -> tuple[GameEvent, ...]:
    """List every event that turned `before` into `after`, in a fixed order.

    A death that also cost a frag was the player's own doing: a suicide, not a death. Health and
    ammo that changed with a death belong to the respawn and are not events.
    """
    events: list[GameEvent] = []
    if after.kills > before.kills:
        events.append(GameEvent("kill", after.kills - before.kills))
    if after.deaths > before.deaths:
        events.append(GameEvent("suicide" if after.frags < before.frags else "death"))
        return tuple(events)
    events.extend(_level_events(before, after))
    moved = dist(before.position, after.position)
    if moved > 0:
        events.append(GameEvent("distance", moved))
    return tuple(events)


def _level_events(before: Snapshot, after: Snapshot) -> list[GameEvent]:
    events: list[GameEvent] = []
    if after.health > before.health:
        events.append(GameEvent("medikit"))
    if after.health < before.health:
        events.append(GameEvent("injured"))
    if after.armor > before.armor:
        events.append(GameEvent("armor"))
    if any(new > old for old, new in zip(before.weapons, after.weapons, strict=True)):
        events.append(GameEvent("weapon"))
    changes = [new - old for old, new in zip(before.ammo, after.ammo, strict=True)]
    if any(change > 0 for change in changes):
        events.append(GameEvent("ammo"))
    if any(change < 0 for change in changes):
        events.append(GameEvent("use_ammo"))
    return events
