"""Feature maps of objects in sight, from a labels buffer drawn by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from games.doom.label_maps import label_map, parse_mapping


@dataclass
class Label:
    value: int
    object_category: str


LABELS = [
    Label(1, "Monster"),
    Label(2, "Medkit of a mod"),
    Label(3, "Armor"),
    Label(4, "Weapon"),
    Label(5, "Ammo"),
    Label(6, "Player"),
    Label(255, "Self"),
]
BUFFER = np.array([[0, 1, 2, 3], [4, 5, 6, 255]], dtype=np.uint8)


@pytest.mark.parametrize(
    ("mapping", "groups"),
    [
        ("", ()),
        ("0", ((0,),)),
        ("0;1;2;3", ((0,), (1,), (2,), (3,))),
        ("3;0+2;1", ((3,), (0, 2), (1,))),
    ],
)
def test_a_mapping_lists_the_kinds_of_every_map(
    mapping: str, groups: tuple[tuple[int, ...], ...]
) -> None:
    assert parse_mapping(mapping) == groups


@pytest.mark.parametrize(
    ("group", "shown"),
    [
        ((0,), [[0, 1, 0, 0], [0, 0, 1, 0]]),
        ((1, 3), [[0, 0, 0, 1], [0, 1, 0, 0]]),
        ((2,), [[0, 0, 0, 0], [1, 0, 0, 0]]),
    ],
)
def test_a_map_shows_its_own_kinds_and_nothing_else(
    group: tuple[int, ...], shown: list[list[int]]
) -> None:
    drawn = label_map(BUFFER, LABELS, group)
    assert drawn.dtype == np.uint8
    assert (drawn / 255).tolist() == shown
