"""What a player of Doom sees, as options of a run."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from games.interface import ObservationSpace

LIMITS: MappingProxyType[str, tuple[int, int]] = MappingProxyType(
    {"height": (36, 480), "width": (36, 640), "history": (1, 16), "frame_skip": (1, 35)}
)
COLORS = ("gray", "rgb")


class ObservationError(ValueError):
    """An option is refused; the message names it and what it may be."""


@dataclass(frozen=True)
class ObservationOptions:
    """Sizes in pixels; `color` is "gray" or "rgb"; each buffer adds one channel to every frame.

    Raises ObservationError where LIMITS or COLORS do not allow a value.
    """

    height: int = 36
    width: int = 64
    color: str = "gray"
    depth: bool = False
    labels: bool = False
    automap: bool = False
    history: int = 4
    frame_skip: int = 4

    def __post_init__(self) -> None:
        """Check before anything is started."""
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ObservationError(f"{name}: must be from {least} to {most}, is {value}")
        if self.color not in COLORS:
            raise ObservationError(f"color: must be one of {', '.join(COLORS)}, is {self.color}")

    @property
    def buffers(self) -> tuple[str, ...]:
        """The buffers shown beside the screen, in the order of their channels."""
        return tuple(name for name in ("depth", "labels", "automap") if getattr(self, name))

    @property
    def space(self) -> ObservationSpace:
        """The declared space of the observations these options lead to."""
        screen = 3 if self.color == "rgb" else 1
        channels = screen + len(self.buffers)
        return ObservationSpace(channels, self.history, self.height, self.width)
