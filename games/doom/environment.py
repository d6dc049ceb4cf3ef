"""One ViZDoom game: what it shows depends only on its options, its seed and the actions."""

from __future__ import annotations

import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import cv2
import numpy as np
import vizdoom

from games.doom.actions import parse_actions, used_buttons
from games.doom.engine import write_launcher
from games.doom.label_maps import label_maps, parse_mapping
from games.doom.observation import DRAWABLE
from games.doom.rewards import RewardWeights, Snapshot, events_between
from games.doom.scenarios import SCENARIOS
from games.interface import Outcome

if TYPE_CHECKING:
    from types import TracebackType

    from games.doom.observation import ObservationOptions
    from games.interface import Frame

VARIABLES: tuple[str, ...] = (
    *("HEALTH", "ARMOR", "SELECTED_WEAPON", "SELECTED_WEAPON_AMMO"),
    *("KILLCOUNT", "DEATHCOUNT", "FRAGCOUNT", "ITEMCOUNT", "DAMAGECOUNT", "HITCOUNT"),
    *("POSITION_X", "POSITION_Y", "POSITION_Z", "ANGLE"),
    *("VELOCITY_X", "VELOCITY_Y", "VELOCITY_Z"),
    *(f"AMMO{slot}" for slot in range(10)),
    *(f"WEAPON{slot}" for slot in range(10)),
)
_ENGINE_VARIABLES = tuple((name, getattr(vizdoom.GameVariable, name)) for name in VARIABLES)


@dataclass(frozen=True)
class DoomState:
    """The game now: the stacked observation, named variables, and raw engine buffers by name."""

    observation: Frame
    variables: dict[str, float]
    buffers: dict[str, Frame]
    tic: int


class DoomGame:
    """A seat in one scenario; call `start` once, then any number of episodes."""

    def __init__(
        self,
        scenario: str,
        options: ObservationOptions,
        *,
        action_combinations: str = "",
        reward_weights: RewardWeights | None = None,
    ) -> None:
        """Declare a game; the engine begins with `start`.

        An empty `action_combinations` takes the scenario's own. Raises KeyError for an unknown
        scenario and GrammarError for a bad grammar.
        """
        row = SCENARIOS[scenario]
        self.scenario = row
        self.options = options
        self.actions = parse_actions(action_combinations or row.action_combinations)
        self.action_count = len(self.actions)
        self.observation_space = options.space
        self._weights = reward_weights or RewardWeights()
        self._mapped_kinds = parse_mapping(options.label_maps)
        self._buttons = used_buttons(self.actions)
        self._presses = [[button in action for button in self._buttons] for action in self.actions]
        self._frames: deque[Frame] = deque(maxlen=options.history)
        self._snapshot: Snapshot | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._engine: Any = vizdoom.DoomGame()

    def start(self, map_name: str | None = None) -> None:
        """Start the engine process on `map_name`, by default the scenario's own map."""
        self._directory = tempfile.TemporaryDirectory(prefix="doom-")
        self._configure(Path(self._directory.name))
        if map_name is not None:
            self._engine.set_doom_map(map_name)
        self._engine.init()

    def new_episode(self, seed: int) -> Frame:
        """Begin the episode of `seed`, in [0, 2**31); answers the first observation."""
        self._engine.set_seed(seed)
        self._engine.new_episode()
        frame = self._frame(self._engine.get_state())
        self._frames.extend([frame] * self.options.history)
        self._snapshot = Snapshot.of(self.variables) if self._weights.shapes else None
        return np.concatenate(self._frames)

    def make_action(self, action: int) -> Outcome:
        """Hold the buttons of `action` for the frame skip; the reward includes any shaping."""
        reward = self._engine.make_action(self._presses[action], self.options.frame_skip)
        events = ()
        if self._snapshot is not None:
            now = Snapshot.of(self.variables)
            events = events_between(self._snapshot, now)
            self._snapshot = now
            reward += self._weights.total(events)
        if self._engine.is_episode_finished():
            cut = self._engine.is_episode_timeout_reached() and not self._engine.is_player_dead()
            return Outcome(None, reward, ended=True, cut=cut, events=events)
        self._frames.append(self._frame(self._engine.get_state()))
        return Outcome(np.concatenate(self._frames), reward, ended=False, cut=False, events=events)

    def get_state(self) -> DoomState | None:
        """Read the whole state now, or None once the episode has ended."""
        state = self._engine.get_state()
        if state is None:
            return None
        observation = np.concatenate(self._frames)
        tic = self._engine.get_episode_time()
        return DoomState(observation, self.variables, _buffers(state), tic)

    def is_episode_finished(self) -> bool:
        """Tell whether the episode has ended, by the clock or in the game."""
        return self._engine.is_episode_finished()

    @property
    def total_reward(self) -> float:
        """The scenario's own reward of this episode so far, without shaping."""
        return self._engine.get_total_reward()

    @property
    def variables(self) -> dict[str, float]:
        """Health, ammunition, weapons, position and counts, read from the engine now."""
        read = self._engine.get_game_variable
        return {name: read(variable) for name, variable in _ENGINE_VARIABLES}

    def close(self) -> None:
        """End the engine process and remove its directory."""
        self._engine.close()
        if self._directory is not None:
            self._directory.cleanup()
            self._directory = None

    def __enter__(self) -> Self:
        """Start on entry."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close on exit, whatever happened."""
        self.close()

    def _configure(self, directory: Path) -> None:
        engine, options = self._engine, self.options
        engine.load_config(str(Path(vizdoom.scenarios_path) / f"{self.scenario.name}.cfg"))
        engine.set_vizdoom_path(str(write_launcher(directory)))
        engine.set_mode(vizdoom.Mode.PLAYER)
        engine.set_window_visible(False)
        engine.set_sound_enabled(False)
        engine.set_console_enabled(False)
        engine.set_screen_resolution(_engine_resolution(options))
        is_rgb = options.color == "rgb"
        screen_format = vizdoom.ScreenFormat.RGB24 if is_rgb else vizdoom.ScreenFormat.GRAY8
        engine.set_screen_format(screen_format)
        engine.set_depth_buffer_enabled(options.depth)
        engine.set_labels_buffer_enabled(options.labels or bool(options.label_maps))
        engine.set_automap_buffer_enabled(options.automap)
        engine.set_available_buttons([getattr(vizdoom.Button, name) for name in self._buttons])
        engine.set_available_game_variables([])
        if options.render:
            for name in DRAWABLE:
                getattr(engine, f"set_render_{name}")(name in options.drawn)

    def _frame(self, state: vizdoom.GameState) -> Frame:
        buffers = _buffers(state)
        if self._mapped_kinds:
            buffers["labels"] = label_maps(
                buffers["labels"], state.labels or (), self._mapped_kinds
            )
        if "automap" in buffers:
            buffers["automap"] = _gray(buffers["automap"])
        return np.concatenate([self._resized(buffer) for buffer in buffers.values()])

    def _resized(self, screen: Frame) -> Frame:
        size = (self.options.width, self.options.height)
        method = cv2.INTER_AREA if self.options.screen else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(screen, size, interpolation=method), np.uint8)
        return np.moveaxis(np.atleast_3d(small), 2, 0)


def _engine_resolution(options: ObservationOptions) -> vizdoom.ScreenResolution:
    """Choose the screen asked for, or the smallest (none is below 160x120) that covers it."""
    if options.screen:
        return getattr(vizdoom.ScreenResolution, f"RES_{options.screen.upper()}")
    for width, height in ((160, 120), (320, 240), (640, 480)):
        if options.width <= width and options.height <= height:
            return getattr(vizdoom.ScreenResolution, f"RES_{width}X{height}")
    raise ValueError(f"no engine screen covers {options.width}x{options.height}")


def _buffers(state: vizdoom.GameState) -> dict[str, Frame]:
    """Name the buffers that the options asked the engine for, in the order of their channels."""
    buffers = {
        "screen": state.screen_buffer,
        "depth": state.depth_buffer,
        "labels": state.labels_buffer,
        "automap": state.automap_buffer,
    }
    return {name: np.asarray(buffer) for name, buffer in buffers.items() if buffer is not None}


def _gray(image: Frame) -> Frame:
    is_gray = image.ndim == 2  # noqa: PLR2004 - height and width alone
    return image if is_gray else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
