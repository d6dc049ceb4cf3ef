"""Values drawn from a JSON schema of draft 7: what it allows, as far as a seed gets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random

# Texts that a pattern may choose from; each field of the chart's schema takes one of them.
_TEXTS = (
    "", "elodrome", "elodrome-two", "a.b", "Always", "10.0.0.0/8", "::/0", "500m", "2Gi", "3",
    "s3://bucket/prefix", "https://store.example", "nats://bus:4222", "host:8222", "15s", "2m",
    "person@example.com", "ca.crt", "v1.2.3", "sha256:" + "0" * 64, "max_jobs",
)  # fmt: skip


def draw(schema: dict[str, Any], generator: random.Random, *, chance: float = 0.4) -> Any:
    """Return a value that the schema allows; each optional property is there by `chance`."""
    return _Drawing(schema, generator, chance).value(schema)


class _Drawing:
    def __init__(self, root: dict[str, Any], generator: random.Random, chance: float) -> None:
        self._root, self._generator, self._chance = root, generator, chance

    def value(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self.value(self._root["definitions"][schema["$ref"].rpartition("/")[2]])
        if "enum" in schema:
            return self._generator.choice(schema["enum"])
        kinds = schema["type"]
        kind = kinds if isinstance(kinds, str) else self._generator.choice(kinds)
        return getattr(self, f"_{kind}")(schema)

    def _object(self, schema: dict[str, Any]) -> dict[str, Any]:
        drawn = {
            name: self.value(part)
            for name, part in schema.get("properties", {}).items()
            if name in schema.get("required", ()) or self._generator.random() < self._chance
        }
        if not drawn and schema.get("minProperties"):
            name = self._generator.choice(sorted(schema["properties"]))
            drawn = {name: self.value(schema["properties"][name])}
        rest = schema.get("additionalProperties")
        if isinstance(rest, dict) and self._generator.random() < self._chance:
            key = self._string({"type": "string", **schema.get("propertyNames", {})})
            drawn |= {key: self.value(rest)} if key else {}
        return drawn

    def _array(self, schema: dict[str, Any]) -> list[Any]:
        count = max(schema.get("minItems", 0), self._generator.choice((0, 1, 2)))
        return [self.value(schema["items"]) for _ in range(count)] if "items" in schema else []

    def _string(self, schema: dict[str, Any]) -> str:
        fitting = [text for text in _TEXTS if re.search(schema.get("pattern", ""), text)]
        return self._generator.choice(fitting)

    def _integer(self, schema: dict[str, Any]) -> int:
        low = schema.get("minimum", 0)
        return self._generator.choice((low, schema.get("maximum", low + 1)))

    def _number(self, schema: dict[str, Any]) -> float:
        return float(self._integer(schema)) + 0.5

    def _boolean(self, _schema: dict[str, Any]) -> bool:
        return self._generator.random() < self._chance
