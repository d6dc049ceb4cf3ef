"""Feature maps of what stands where: one channel for each group of kinds of object in sight.

A mapping such as "0;1+3" lists groups separated by ';' and joins kinds by '+'. The notation and
the four kinds are those of Arnold (Lample & Chaplot, 2017; github.com/glample/Arnold,
src/doom/labels.py); an object's kind is read from the engine's category of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from games.interface import Frame

KINDS: tuple[frozenset[str], ...] = (
    # Players are the others: the engine has a category of its own for the one who looks.
    frozenset({"Monster", "Player"}),
    frozenset({"Health", "Armor"}),
    frozenset({"Weapon"}),
    frozenset({"Ammo"}),
)
"""Engine categories of kind 0 enemies, 1 health items, 2 weapons, 3 ammunition."""

_KNOWN = frozenset("0123")


class Label(Protocol):
    """An object in sight, as the engine describes it."""

    @property
    def value(self) -> int:
        """What its pixels hold."""
        ...

    @property
    def object_category(self) -> str:
        """What sort of thing it is."""
        ...


def parse_mapping(mapping: str) -> tuple[tuple[int, ...], ...]:
    """Read the kinds of every map; empty gives none.

    Raises ValueError for a kind that is unknown or named twice.
    """
    if not mapping:
        return ()
    groups = [group.split("+") for group in mapping.split(";")]
    names = [name for group in groups for name in group]
    if not _KNOWN.issuperset(names) or len(set(names)) != len(names):
        raise ValueError(
            f"{mapping!r} must join kinds 0 to 3, each at most once, by ';' and '+': '0;1+3'"
        )
    return tuple(tuple(int(name) for name in group) for group in groups)


def label_map(buffer: Frame, labels: Iterable[Label], group: Sequence[int]) -> Frame:
    """Draw one map, uint8 [height, width]: 255 where an object of the group's kinds is seen.

    `buffer`, uint8 [height, width], holds in every pixel the `value` of the label seen there.
    """
    # Whoever only checks a mapping, as services do, needs no numeric library.
    import numpy as np  # noqa: PLC0415

    categories = frozenset().union(*(KINDS[kind] for kind in group))
    shade = np.zeros(256, dtype=np.uint8)
    shade[[label.value for label in labels if label.object_category in categories]] = 255
    return shade[buffer]
