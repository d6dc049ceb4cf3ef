"""compose.yaml as Compose reads it: variables put in, anchors resolved."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parents[1] / "compose.yaml"
_VARIABLE = re.compile(r"\$(\$|\{(?P<name>\w+)(?P<rule>:[-?+])(?P<text>[^}]*)\})")


class MissingError(ValueError):
    """A variable that has to be there is not; Compose says the same and starts nothing."""


def load(**variables: str) -> dict[str, Any]:
    """Return the file with variables as Compose puts them in; raise MissingError."""

    def value(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        given = variables.get(match["name"], "")
        if match["rule"] == ":+":
            return match["text"].replace(f"${match['name']}", given) if given else ""
        if not given and match["rule"] == ":?":
            raise MissingError(f"{match['name']}: {match['text']}")
        return given or match["text"]

    text = _VARIABLE.sub(value, FILE.read_text(encoding="utf-8"))
    return yaml.safe_load(text)
