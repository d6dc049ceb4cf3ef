"""A rule says what one configuration field may hold, for the parser and for the schema."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_UUID = re.compile("[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class ConfigError(ValueError):
    """A configuration is refused: `field` is the field's name, `rule` what it breaks."""

    def __init__(self, field: str, rule: str) -> None:
        """Compose the message "field: rule"."""
        super().__init__(f"{field}: {rule}")
        self.field = field
        self.rule = rule


@dataclass(frozen=True)
class Integer:
    """A whole number in [minimum, maximum]; 64.0 is one, as JSON knows a single kind of number."""

    minimum: int
    maximum: int

    def parse(self, name: str, value: object) -> int:
        """Answer the number, or raise ConfigError."""
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.minimum <= value <= self.maximum
        ):
            return value
        raise ConfigError(name, f"must be a whole number from {self.minimum} to {self.maximum}")

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class Number:
    """A finite number from minimum to maximum; `open_minimum` leaves the minimum itself out."""

    minimum: float
    maximum: float
    open_minimum: bool = False

    def parse(self, name: str, value: object) -> float:
        """Answer the number, or raise ConfigError; NaN lies in no range."""
        if isinstance(value, int | float) and not isinstance(value, bool):
            above = value > self.minimum if self.open_minimum else value >= self.minimum
            if above and value <= self.maximum and math.isfinite(value):
                return float(value)
        start = f"above {self.minimum:g}, to" if self.open_minimum else f"from {self.minimum:g} to"
        raise ConfigError(name, f"must be a number {start} {self.maximum:g}")

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        start = "exclusiveMinimum" if self.open_minimum else "minimum"
        return {"type": "number", start: self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class Optional:
    """A number as another rule has it, or none: JSON's null."""

    rule: Integer | Number

    def parse(self, name: str, value: object) -> float | None:
        """Answer the number or None, or raise ConfigError."""
        return None if value is None else self.rule.parse(name, value)

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        schema = self.rule.schema()
        return {**schema, "type": [schema["type"], "null"]}


BOT_RULES = {"bots": Integer(0, 15), "bot_skill": Integer(0, 100), "bot_health": Integer(1, 200)}
"""What may be asked for of built-in opponents, by a run and by a stage of its curriculum."""


@dataclass(frozen=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def parse(self, name: str, value: object) -> str:
        """Answer the word, or raise ConfigError listing the words."""
        if isinstance(value, str) and value in self.words:
            return value
        raise ConfigError(name, f"must be one of {', '.join(self.words)}")

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def parse(self, name: str, value: object) -> bool:
        """Answer the truth, or raise ConfigError."""
        if isinstance(value, bool):
            return value
        raise ConfigError(name, "must be true or false")

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text:
    """A short text; `check` raises ValueError with the reason it is refused."""

    max_length: int
    check: Callable[[str], object] = str

    def parse(self, name: str, value: object) -> str:
        """Answer the text, or raise ConfigError."""
        if not isinstance(value, str) or len(value) > self.max_length:
            raise ConfigError(name, f"must be a text of at most {self.max_length} characters")
        try:
            self.check(value)
        except ValueError as error:
            raise ConfigError(name, str(error)) from error
        return value

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema, as far as that can."""
        return {"type": "string", "maxLength": self.max_length}


@dataclass(frozen=True)
class Integers:
    """One to `most` whole numbers, each in [minimum, maximum]."""

    minimum: int
    maximum: int
    most: int

    def parse(self, name: str, value: object) -> tuple[int, ...]:
        """Answer the numbers, or raise ConfigError naming the place."""
        if not isinstance(value, list | tuple) or not 1 <= len(value) <= self.most:
            raise ConfigError(name, f"must be a list of 1 to {self.most} whole numbers")
        each = Integer(self.minimum, self.maximum)
        return tuple(each.parse(f"{name}[{place}]", one) for place, one in enumerate(value))

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        each = Integer(self.minimum, self.maximum).schema()
        return {"type": "array", "items": each, "minItems": 1, "maxItems": self.most}


@dataclass(frozen=True)
class Names:
    """At most `most` different ones of some known names."""

    names: tuple[str, ...]
    most: int

    def parse(self, name: str, value: object) -> tuple[str, ...]:
        """Answer the names, or raise ConfigError naming the place."""
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise ConfigError(name, f"must be a list of at most {self.most} names")
        each = Choice(self.names)
        names = tuple(each.parse(f"{name}[{place}]", one) for place, one in enumerate(value))
        if len(set(names)) < len(names):
            raise ConfigError(name, "names something twice")
        return names

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        each = Choice(self.names).schema()
        return {"type": "array", "items": each, "maxItems": self.most, "uniqueItems": True}


@dataclass(frozen=True)
class Weights:
    """A number for each of some known names, from -largest if not from smallest to largest.

    Names left out weigh 0.
    """

    names: tuple[str, ...]
    largest: float
    smallest: float | None = None

    @property
    def _each(self) -> Number:
        least = -self.largest if self.smallest is None else self.smallest
        return Number(least, self.largest)

    def parse(self, name: str, value: object) -> dict[str, float]:
        """Answer the weights that are set, or raise ConfigError naming the entry."""
        if not isinstance(value, dict):
            raise ConfigError(name, "must be a mapping of names to numbers")
        for key in value:
            if key not in self.names:
                raise ConfigError(f"{name}.{key}", f"is unknown; known: {', '.join(self.names)}")
        return {key: self._each.parse(f"{name}.{key}", value[key]) for key in sorted(value)}

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema."""
        entries = {name: self._each.schema() for name in self.names}
        return {"type": "object", "properties": entries, "additionalProperties": False}


@dataclass(frozen=True)
class Stage:
    """A map to train on until an evaluation brings a mean return of `until`; None is never.

    What of `bots`, `bot_skill` and `bot_health` is None is as the run has it.
    """

    scenario: str
    until: float | None = None
    bots: int | None = None
    bot_skill: int | None = None
    bot_health: int | None = None

    @property
    def opponents(self) -> dict[str, int]:
        """What the stage says of bots itself."""
        own = {name: getattr(self, name) for name in BOT_RULES}
        return {name: value for name, value in own.items() if value is not None}


@dataclass(frozen=True)
class Stages:
    """At most `most` stages, each on one of some known maps; all but the last have their end."""

    scenarios: tuple[str, ...]
    most: int
    until: ClassVar[Number] = Number(-1e9, 1e9)

    def parse(self, name: str, value: object) -> tuple[Stage, ...]:
        """Answer the stages, or raise ConfigError naming the place and the field."""
        if not isinstance(value, list | tuple) or len(value) > self.most:
            raise ConfigError(name, f"must be a list of at most {self.most} stages")
        last = len(value) - 1
        return tuple(
            self._parse_one(f"{name}[{place}]", one, is_last=place == last)
            for place, one in enumerate(value)
        )

    def _parse_one(self, name: str, value: object, *, is_last: bool) -> Stage:
        if not isinstance(value, dict):
            raise ConfigError(name, "must be a mapping with scenario and until")
        until = Optional(self.until) if is_last else self.until
        bots = {bot: Optional(rule) for bot, rule in BOT_RULES.items()}
        rules: dict[str, Rule] = {"scenario": Choice(self.scenarios), "until": until, **bots}
        stage = Stage(**parse_fields({"scenario": None, "until": None} | value, rules, within=name))
        if is_last and stage.until is not None:
            raise ConfigError(f"{name}.until", "must be left out: no stage follows the last")
        return stage

    def schema(self) -> dict[str, Any]:
        """Say the rule in JSON Schema, as far as that can."""
        entries = {
            "scenario": Choice(self.scenarios).schema(),
            "until": Optional(self.until).schema(),
            **{name: Optional(rule).schema() for name, rule in BOT_RULES.items()},
        }
        stage = {
            "type": "object",
            "properties": entries,
            "required": ["scenario"],
            "additionalProperties": False,
        }
        return {"type": "array", "items": stage, "maxItems": self.most}


def check_uuid(text: str) -> None:
    """Let a text be empty or a UUID; raises ValueError."""
    if text and not _UUID.fullmatch(text):
        raise ValueError("must be a UUID in lower case")


Rule = Integer | Integers | Names | Number | Optional | Choice | Flag | Text | Weights | Stages


def parse_fields(
    mapping: Mapping[str, object], rules: Mapping[str, Rule], *, within: str = ""
) -> dict[str, Any]:
    """Check every field of `mapping` by its rule; fields left out stay out.

    Raises ConfigError naming the field, `within` another one or not: an unknown one with the
    nearest known name, a value with the rule it breaks.
    """
    path = f"{within}." if within else ""
    for name in mapping:
        if name not in rules:
            near = difflib.get_close_matches(name, rules, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{path}{name}", f"is not a field{hint}")
    return {name: rules[name].parse(f"{path}{name}", value) for name, value in mapping.items()}
