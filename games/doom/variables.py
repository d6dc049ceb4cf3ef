"""The variables of the game that can be read, by the engine's own names."""

from __future__ import annotations

VARIABLES: tuple[str, ...] = (
    *("HEALTH", "ARMOR", "SELECTED_WEAPON", "SELECTED_WEAPON_AMMO"),
    *("KILLCOUNT", "DEATHCOUNT", "FRAGCOUNT", "ITEMCOUNT", "DAMAGECOUNT", "HITCOUNT"),
    *("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE"),
    *("VELOCITY_X", "VELOCITY_Y", "VELOCITY_Z"),
    *(f"AMMO{slot}" for slot in range(10)),
    *(f"WEAPON{slot}" for slot in range(10)),
)
