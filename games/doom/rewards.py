"""Shaped reward is a weighted sum of typed events, each read from two looks at the game."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import dist
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from games.interface import GameEvent

if TYPE_CHECKING:
    from collections.abc import Callable

Values: TypeAlias = tuple[float, ...]


@dataclass(frozen=True)
class RewardWeights:
    """Points per unit of each kind of event.

    `distance` is per map unit moved; `hit` is per bullet, pellet or blast that hurt somebody, the
    player's own rocket that hurt himself included, as the engine counts.
    """

    kill: float = 0.0
    death: float = 0.0
    suicide: float = 0.0
    medikit: float = 0.0
    armor: float = 0.0
    injured: float = 0.0
    weapon: float = 0.0
    ammo: float = 0.0
    use_ammo: float = 0.0
    hit: float = 0.0
    distance: float = 0.0

    def total(self, events: tuple[GameEvent, ...]) -> float:
        """Sum of weight times amount over `events`."""
        return sum(getattr(self, event.kind) * event.amount for event in events)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that weigh anything; without one there is nothing to read."""
        return tuple(kind for kind in REWARD_KINDS if getattr(self, kind))


REWARD_KINDS: tuple[str, ...] = tuple(entry.name for entry in fields(RewardWeights))


def _gain(before: Values, after: Values) -> float:
    return sum(new - old for old, new in zip(before, after, strict=True) if new > old)


def _rises(before: Values, after: Values) -> float:
    return sum(new > old for old, new in zip(before, after, strict=True))


def _falls(before: Values, after: Values) -> float:
    return sum(new < old for old, new in zip(before, after, strict=True))


class _Change(NamedTuple):
    """How a kind of event is read: its amount, 0 for none, from variables before and after."""

    variables: tuple[str, ...]
    amount: Callable[[Values, Values], float]


# The engine takes a frag from whoever killed nobody but himself.
_LIFE = ("DEATHCOUNT", "FRAGCOUNT", "HEALTH")
_WEAPONS = tuple(f"WEAPON{slot}" for slot in range(1, 8))
# Slots 4 and 7 shoot what slots 2 and 6 hold.
_AMMO = ("AMMO2", "AMMO3", "AMMO5", "AMMO6")

_CHANGES = {
    "medikit": _Change(("HEALTH",), _rises),
    "injured": _Change(("HEALTH",), _falls),
    "armor": _Change(("ARMOR",), _rises),
    "weapon": _Change(_WEAPONS, _rises),
    "ammo": _Change(_AMMO, _rises),
    "use_ammo": _Change(_AMMO, _falls),
    "hit": _Change(("HITCOUNT",), _gain),
    "distance": _Change(("POSITION_X", "POSITION_Y"), dist),
}
# Monsters are counted as kills, other players as frags.
_KILL = _Change(("KILLCOUNT", "FRAGCOUNT"), _gain)


class EventReader:
    """Tells events of some kinds apart; `variables` names what of the engine it has to be shown.

    A weapon or kind of ammunition is one unit of its event, however much of it there was.
    """

    def __init__(self, kinds: tuple[str, ...]) -> None:
        """Choose the variables; `kinds` are of REWARD_KINDS."""
        self._kinds = kinds
        self.variables: tuple[str, ...] = _LIFE
        self._kill = self._placed(_KILL) if "kill" in kinds else None
        self._changes = {kind: self._placed(_CHANGES[kind]) for kind in kinds if kind in _CHANGES}

    def events(self, before: Values, after: Values) -> tuple[GameEvent, ...]:
        """List what turned the values `before` into those `after`, in a fixed order.

        A death that also cost a frag was the player's own doing: a suicide, not a death. What else
        changes with a death, or while dead, belongs to no life and is no event, save for a kill.
        """
        if before == after:
            return ()
        events = []
        if self._kill:
            place, amount = self._kill
            events.append(GameEvent("kill", amount(before[place], after[place])))
        deaths, frags, health = before[: len(_LIFE)]
        if after[0] > deaths:
            kind = "suicide" if after[1] < frags else "death"
            events += [GameEvent(kind)] if kind in self._kinds else []
        elif health > 0:
            events += [
                GameEvent(kind, amount(before[place], after[place]))
                for kind, (place, amount) in self._changes.items()
            ]
        return tuple(event for event in events if event.amount)

    def _placed(self, change: _Change) -> tuple[slice, Callable[[Values, Values], float]]:
        first = len(self.variables)
        self.variables += change.variables
        return slice(first, first + len(change.variables)), change.amount
