"""What can happen in a game or a run: one type for every name that a reward or a log gives it."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class EventType(StrEnum):
    """A kind of event; a change says by its sign whether something was gained or lost."""

    RUN_START = "RUN_START"
    CONFIG = "CONFIG"
    ITERATION = "ITERATION"
    EVALUATION_START = "EVALUATION_START"
    EVALUATION_END = "EVALUATION_END"
    MODEL_SAVE = "MODEL_SAVE"

    EPISODE_START = "EPISODE_START"
    EPISODE_END = "EPISODE_END"

    KILL = "KILL"
    DEATH = "DEATH"
    SUICIDE = "SUICIDE"
    RESPAWN = "RESPAWN"
    HEALTH_CHANGE = "HEALTH_CHANGE"
    ARMOR_CHANGE = "ARMOR_CHANGE"
    AMMO_CHANGE = "AMMO_CHANGE"
    WEAPON_FOUND = "WEAPON_FOUND"
    WEAPON_SWITCHED = "WEAPON_SWITCHED"
    ITEM_PICKUP = "ITEM_PICKUP"
    DAMAGE_DEALT = "DAMAGE_DEALT"
    DISTANCE_MOVED = "DISTANCE_MOVED"


EVENT_TYPES: MappingProxyType[str, EventType] = MappingProxyType(
    {
        # Reward weights.
        "kill": EventType.KILL,
        "death": EventType.DEATH,
        "suicide": EventType.SUICIDE,
        "medikit": EventType.HEALTH_CHANGE,
        "injured": EventType.HEALTH_CHANGE,
        "armor": EventType.ARMOR_CHANGE,
        "weapon": EventType.WEAPON_FOUND,
        "ammo": EventType.AMMO_CHANGE,
        "use_ammo": EventType.AMMO_CHANGE,
        "hit": EventType.DAMAGE_DEALT,
        "distance": EventType.DISTANCE_MOVED,
        # Further names in logs.
        "ammo_lost": EventType.AMMO_CHANGE,
        "health_lost": EventType.HEALTH_CHANGE,
        "HEALTH_LOST": EventType.HEALTH_CHANGE,
        "PICKUP": EventType.ITEM_PICKUP,
        "DAMAGE": EventType.DAMAGE_DEALT,
        "weapon_found": EventType.WEAPON_FOUND,
        "weapon_switched": EventType.WEAPON_SWITCHED,
        "respawn": EventType.RESPAWN,
    }
)
"""The type of every name: that of a reward weight, or one that training logs use."""
