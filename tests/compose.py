"""compose.yaml as Compose reads it: variables put in, anchors resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "compose.yaml"
TLS = FILE.with_name("compose.tls.yaml")
_VARIABLE = re.compile(r"\$(\$|\{(?P<name>\w+)(?P<rule>:[-?+])(?P<text>[^}]*)\})")


class MissingError(ValueError):
    """A variable that has to be there is not; Compose says the same and starts nothing."""


def load(*over: Path, **variables: str) -> dict[str, Any]:
    """Return the file, others put over it, as Compose puts variables in; raise MissingError."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        given = variables.get(match["name"], "")
        if match["rule"] == ":+":
            return match["text"].replace(f"${match['name']}", given) if given else ""
        if not given and match["rule"] == ":?":
            raise MissingError(f"{match['name']}: {match['text']}")
        return given or match["text"]

    whole: dict[str, Any] = {}
    for file in (FILE, *over):
        text = _VARIABLE.sub(value, file.read_text(encoding="utf-8"))
        whole = _merged(whole, yaml.safe_load(text))
    return whole


def _merged(base: Any, over: Any) -> Any:
    """Put one over the other: maps by key, lists one after the other, everything else whole."""
    if isinstance(base, dict) and isinstance(over, dict):
        return base | {
            key: _merged(base[key], value) if key in base else value for key, value in over.items()
        }
    return base + over if isinstance(base, list) else over
