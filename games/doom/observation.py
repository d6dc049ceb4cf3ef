"""What a player of Doom sees, as options of a run."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from games.doom.label_maps import parse_mapping
from games.interface import ObservationSpace

LIMITS: MappingProxyType[str, tuple[int, int]] = MappingProxyType(
    {"height": (36, 480), "width": (36, 640), "history": (1, 16), "frame_skip": (1, 35)}
)
COLORS = ("gray", "rgb")
SCREENS: tuple[str, ...] = ("160x120", "320x240", "400x225", "640x480")
DRAWABLE: tuple[str, ...] = (
    *("hud", "crosshair", "weapon"),
    *("decals", "particles", "effects_sprites"),
)


class ObservationError(ValueError):
    """An option is refused; the message names it and what it may be."""


@dataclass(frozen=True)
class ObservationOptions:
    """Sizes in pixels; `color` is "gray" or "rgb"; each buffer adds one channel to every frame.

    `label_maps` puts feature maps (games.doom.label_maps) where `labels` puts the bare buffer.
    `screen` is one of SCREENS that covers the frame, and is then averaged down to it; empty takes
    the smallest that does and samples that. `render` joins by '+' what of DRAWABLE is drawn, or is
    "none"; empty leaves that to the scenario. Raises ObservationError where LIMITS, COLORS, SCREENS
    or DRAWABLE do not allow a value, and ValueError for unknown label maps.
    """

    height: int = 36
    width: int = 64
    color: str = "gray"
    depth: bool = False
    labels: bool = False
    automap: bool = False
    history: int = 4
    frame_skip: int = 4
    label_maps: str = ""
    screen: str = ""
    render: str = ""

    def __post_init__(self) -> None:
        """Check before anything is started."""
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise ObservationError(f"{name}: must be from {least} to {most}, is {value}")
        if self.color not in COLORS:
            known = ", ".join(COLORS)
            raise ObservationError(f"color: must be one of {known}, is {self.color}")
        for name, check in {"screen": check_screen, "render": check_render}.items():
            try:
                check(getattr(self, name))
            except ValueError as error:
                raise ObservationError(f"{name}: {error}") from error
        if self.screen and not self._is_covered():
            frame = f"{self.width}x{self.height}"
            raise ObservationError(f"screen: {self.screen} does not cover a frame of {frame}")
        parse_mapping(self.label_maps)

    @property
    def drawn(self) -> set[str]:
        """What `render` names."""
        return set(self.render.split("+"))

    @property
    def buffers(self) -> tuple[str, ...]:
        """The buffers shown beside the screen, in the order of their channels."""
        labels = self.labels or self.label_maps != ""
        shown = {"depth": self.depth, "labels": labels, "automap": self.automap}
        return tuple(name for name, is_shown in shown.items() if is_shown)

    @property
    def space(self) -> ObservationSpace:
        """The declared space of the observations these options lead to."""
        screen = 3 if self.color == "rgb" else 1
        more_maps = max(0, len(parse_mapping(self.label_maps)) - 1)
        channels = screen + len(self.buffers) + more_maps
        return ObservationSpace(channels, self.history, self.height, self.width)

    def _is_covered(self) -> bool:
        width, height = map(int, self.screen.split("x"))
        return self.width <= width and self.height <= height


def check_screen(screen: str) -> None:
    """Raise ValueError where `screen` is not as ObservationOptions has it."""
    if screen and screen not in SCREENS:
        raise ValueError(f"must be one of {', '.join(SCREENS)}, is {screen}")


def check_render(render: str) -> None:
    """Raise ValueError where `render` is not as ObservationOptions has it."""
    if render not in {"", "none"} and not set(render.split("+")) <= set(DRAWABLE):
        raise ValueError(f"must be none, or join {'+'.join(DRAWABLE)}, is {render}")
