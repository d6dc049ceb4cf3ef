"""What a run may be asked to do: its config checked and completed before anything is stored."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import Parse, ParseError
from google.protobuf.struct_pb2 import Struct

from games import catalogue
from kit import errors, parse
from services.executor.states import RunType
from trainer import config as training

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elodrome.executor.v1 import run_service_pb2

MAX_SEED = training.SEED_LIMIT - 1
_MAX_CONFIG_BYTES = 64 << 10
_SUBJECTS = {
    RunType.EVALUATION: ("evaluation_id",),
    RunType.MATCH: ("match_id", "seats"),
    RunType.BUILD: ("submission_id", "build_id", "seats"),
}
"""What the config of a run of the evaluator holds, first of all what it is about."""
_SEATS = range(9)
_PLACES = {
    catalogue.map_id(game, name): (game, name)
    for game, names in catalogue.MAP_NAMES.items()
    for name in names
}
"""Game and name of every map that comes with an install, by its id."""


@dataclass(frozen=True)
class RunConfig:
    """A config that can run, and what else is read out of it."""

    config: dict[str, Any]
    seed: int
    game: str = ""
    map_id: str | None = None
    iterations: int = 0


def read_config(request: run_service_pb2.CreateRunRequest) -> dict[str, Any]:
    """Return the config of a request, which comes as an object or as JSON text."""
    if not request.config_json:
        return parse.mapping(request.config, "config", max_bytes=_MAX_CONFIG_BYTES)
    if request.HasField("config"):
        raise errors.invalid_argument("config_json", "must not come together with config")
    if len(request.config_json) > _MAX_CONFIG_BYTES:
        raise errors.invalid_argument("config_json", f"must be at most {_MAX_CONFIG_BYTES} bytes")
    try:
        document = Parse(request.config_json, Struct())
    except ParseError as error:
        raise errors.invalid_argument("config_json", "must be one JSON object") from error
    return parse.mapping(document, "config_json", max_bytes=_MAX_CONFIG_BYTES)


def complete(
    run_type: RunType, config: Mapping[str, Any], *, seed: int | None, map_id: str | None
) -> RunConfig:
    """Check a config, fill in its defaults and settle on a seed.

    Raises INVALID_ARGUMENT / INVALID_CONFIG naming the field that is wrong.
    """
    if seed is not None:
        parse.integer(seed, "seed", minimum=0, maximum=MAX_SEED)
    if run_type is RunType.TRAINING:
        return _complete_training(config, seed=seed, map_id=map_id)
    if run_type in _SUBJECTS:
        _check_subjects(config, _SUBJECTS[run_type])
    game = config.get("game", "")
    return RunConfig(
        dict(config),
        _choose(seed, config.get("seed")),
        game=game if isinstance(game, str) else "",
        map_id=map_id,
    )


def _complete_training(
    config: Mapping[str, Any], *, seed: int | None, map_id: str | None
) -> RunConfig:
    asked = dict(config)
    if map_id is not None:
        if asked.get("map_id", map_id) != map_id:
            raise _invalid("map_id", "differs from map_id of the request")
        asked["map_id"] = map_id
    _name_place(asked)
    if seed is not None or asked.get("seed") is None:
        asked["seed"] = _choose(seed, None)
    try:
        checked = training.parse(asked)
    except training.ConfigError as error:
        raise _invalid(error.field, error.rule) from error
    stock = catalogue.map_id(checked.game, checked.scenario)
    return RunConfig(
        config=checked.to_mapping(),
        seed=checked.seed,
        game=checked.game,
        map_id=checked.map_id or stock,
        iterations=checked.iterations,
    )


def _name_place(asked: dict[str, Any]) -> None:
    """Let a map that comes with the install say which game and scenario it is."""
    wanted = asked.get("map_id")
    if not wanted:
        return
    place = _PLACES.get(wanted) if isinstance(wanted, str) else None
    if place is None:
        raise _invalid("map_id", "is not a map of the catalogue")
    for field, name in zip(("game", "scenario"), place, strict=True):
        if asked.setdefault(field, name) != name:
            raise _invalid(field, f"differs from {name}, which the map is")


def _check_subjects(config: Mapping[str, Any], wanted: Sequence[str]) -> None:
    for name in (*wanted, *config):
        if (name in config) != (name in wanted):
            raise _invalid(name, "must be given" if name in wanted else "is not known here")
    for name in wanted:
        if name == "seats" and config[name] not in _SEATS:
            raise _invalid(name, f"must be a whole number in {_SEATS[0]}..{_SEATS[-1]}")
        if name != "seats":
            parse.uuid(str(config[name]), f"config.{name}")


def sandboxes(run_type: RunType, config: Mapping[str, Any]) -> tuple[int, str]:
    """Return how many sandboxes a run's worker needs, and what they are for: an id, or empty."""
    wanted = _SUBJECTS.get(run_type, ())
    return (int(config["seats"]), str(config[wanted[0]])) if "seats" in wanted else (0, "")


def _choose(seed: int | None, in_config: object) -> int:
    if seed is not None:
        return seed
    if isinstance(in_config, int) and 0 <= in_config <= MAX_SEED:
        return in_config
    return secrets.randbelow(MAX_SEED + 1)


def _invalid(field: str, rule: str) -> errors.RpcError:
    return errors.invalid_argument(f"config.{field}", rule, reason="INVALID_CONFIG")


def fingerprint(run_type: RunType, config: Mapping[str, Any]) -> str:
    """Digest what was asked for, so that a request id used for something else is noticed."""
    content = json.dumps([run_type, config], sort_keys=True, allow_nan=True)
    return hashlib.sha256(content.encode()).hexdigest()


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Return (dotted key, left, right) for each key that differs; None stands for absent."""
    flat_left, flat_right = _flatten(left), _flatten(right)
    keys = sorted(flat_left.keys() | flat_right.keys())
    pairs = [(key, flat_left.get(key), flat_right.get(key)) for key in keys]
    return [(key, before, after) for key, before, after in pairs if before != after]


def _flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
