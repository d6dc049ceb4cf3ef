"""How the fields of a config are declared, and how they are described to others."""

from __future__ import annotations

from dataclasses import MISSING, Field, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from games.catalogue import MAP_NAMES
from trainer.coherence import Q_LEARNING, games_of

if TYPE_CHECKING:
    from trainer.rules import Rule

Setting = TypeVar("Setting")

ALGORITHMS = ("PPO", *Q_LEARNING)


def metadata(
    rule: Rule, meaning: str, *, of: tuple[str, ...] = (), **defaults: object
) -> dict[str, Any]:
    """Say what a field means and may hold; `of` are the algorithms that have it.

    `defaults` are those that differ, by the name of an algorithm or of a game. What is DQN's is
    DRQN's too, if it has none of its own.
    """
    if "DQN" in defaults:
        defaults.setdefault("DRQN", defaults["DQN"])
    return {"rule": rule, "meaning": meaning, "of": of or ALGORITHMS, "defaults": defaults}


def setting(
    rule: Rule, default: Setting, meaning: str, *, of: tuple[str, ...] = (), **defaults: Setting
) -> Setting:
    """Declare a field of a config with its default; the rest is as in `metadata`."""
    return field(default=default, metadata=metadata(rule, meaning, of=of, **defaults))


def rule_of(entry: Field[Any]) -> Rule:
    """Read the rule of a field."""
    return entry.metadata["rule"]


def schema(config: type[Any]) -> dict[str, Any]:
    """Say a config's rules as one JSON Schema (2020-12), with meanings and defaults."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Training run",
        "type": "object",
        "properties": {entry.name: _property(entry) for entry in fields(config)},
        "additionalProperties": False,
    }


def _property(entry: Field[Any]) -> dict[str, Any]:
    factory = entry.default_factory
    default = entry.default if factory is MISSING else factory()
    described = {
        **rule_of(entry).schema(),
        "default": list(default) if isinstance(default, tuple) else default,
        "description": entry.metadata["meaning"],
    }
    if entry.metadata["of"] != ALGORITHMS:
        described["x-algorithms"] = list(entry.metadata["of"])
    if games_of(entry.name) != tuple(MAP_NAMES):
        described["x-games"] = list(games_of(entry.name))
    if entry.metadata["defaults"]:
        described["x-defaults"] = entry.metadata["defaults"]
    return described
