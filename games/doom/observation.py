"""What a player of Doom sees, as options of a run."""

from __future__ import annotations

from dataclasses import dataclass

from games.interface import ObservationSpace


@dataclass(frozen=True)
class ObservationOptions:
    """Sizes in pixels; `color` is "gray" or "rgb"; each buffer adds one channel to every frame."""

    height: int = 36
    width: int = 64
    color: str = "gray"
    depth: bool = False
    labels: bool = False
    automap: bool = False
    history: int = 4
    frame_skip: int = 4

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
