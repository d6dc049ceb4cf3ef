"""One ViZDoom game: what it shows depends only on its options, its seed and the actions."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import vizdoom

from games.doom.actions import parse_actions, used_buttons
from games.doom.engine import START_DEADLINE_S, Engine, EngineError
from games.doom.features import FEATURE_NAMES, read_features
from games.doom.observation import DRAWABLE
from games.doom.randomisation import write_variant
from games.doom.rewards import EventReader, RewardWeights
from games.doom.scenarios import SCENARIOS, Scenario
from games.doom.screen import engine_resolution, frame_writer
from games.doom.variables import VARIABLES
from games.doom.wad import WadError
from games.interface import GameEvent, Outcome

if TYPE_CHECKING:
    from types import TracebackType

    from games.doom.bots import Bots
    from games.doom.observation import ObservationOptions
    from games.doom.randomisation import Randomisation
    from games.doom.rewards import Values
    from games.interface import Frame

# Nobody stays dead, leaves the map, or appears where another player stands; and the dead are not
# shown the scores, among which stand delays in real time.
DEATHMATCH_RULES = (
    "+deathmatch 1 +sv_forcerespawn 1 +sv_noexit 1 +sv_spawnfarthest 1 +sb_deathmatch_enable 0"
)

_FRAGS = vizdoom.GameVariable.FRAGCOUNT
_ENGINE_VARIABLES = tuple((name, getattr(vizdoom.GameVariable, name)) for name in VARIABLES)


@dataclass(frozen=True)
class DoomState:
    """The game now: named variables, and the engine's own buffers by name; time in tics.

    `players` are the names and frags of all who play, in the engine's order.
    """

    variables: dict[str, float]
    buffers: dict[str, Frame]
    tic: int
    players: tuple[tuple[str, int], ...]


class DoomGame:
    """A seat in one scenario; call `start` once, then any number of episodes."""

    def __init__(
        self,
        scenario: str | Scenario,
        options: ObservationOptions,
        *,
        action_combinations: str = "",
        reward_weights: RewardWeights | None = None,
        features: bool = False,
        randomisation: Randomisation | None = None,
        wad: Path | None = None,
        bots: Bots | None = None,
        start_deadline_s: float = START_DEADLINE_S,
    ) -> None:
        """Declare a game; the engine begins with `start`.

        An empty `action_combinations` takes the scenario's own; `features` asks for those of
        `games.doom.features`. A `wad` is played instead of the scenario's own, under everything
        else that the scenario says. Where `bots` play, the dead come back, each at the decision
        after, and only the clock ends an episode. Raises KeyError for an unknown scenario,
        GrammarError for a bad grammar and ValueError for bots in a scenario without deathmatch.
        """
        row = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
        self.scenario = row
        self.options = options
        self.actions = parse_actions(action_combinations or row.action_combinations)
        self.action_count = len(self.actions)
        self.observation_space = options.space
        self.feature_names: tuple[str, ...] = FEATURE_NAMES if features else ()
        self._weights = reward_weights or RewardWeights()
        self._events = EventReader(self._weights.kinds)
        self._watched = [getattr(vizdoom.GameVariable, name) for name in self._events.variables]
        self._values: Values | None = None
        self._randomisation = randomisation
        self.is_randomised = False
        """Whether the present episode is another than the scenario has it."""
        self._buttons = used_buttons(self.actions)
        self._presses = [[button in action for button in self._buttons] for action in self.actions]
        self._write = frame_writer(options)
        self._state: vizdoom.GameState | None = None
        if bots and not row.is_deathmatch:
            raise ValueError(f"bots cannot play {row.name}, which is no deathmatch")
        self._wad = wad
        self._map_name = row.map_name
        self._bots = bots
        # Whether who dies comes back.
        self._respawns = bots is not None
        self._was_dead = False
        self._earlier_deaths = self._frags = self._kills = 0.0
        self._start_deadline_s = start_deadline_s
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._engine = Engine()

    def start(self, map_name: str | None = None) -> None:
        """Start the engine process on `map_name`, by default the scenario's own map.

        Raises EngineError, with the reason, where the engine cannot start or cannot play the map.
        """
        self._map_name = map_name or self.scenario.map_name
        self._directory = tempfile.TemporaryDirectory(prefix="doom-")
        try:
            self.restart()
        except BaseException:
            self.close()
            raise

    def restart(self) -> None:
        """Start a fresh engine process, as after a GameDiedError; an episode has to follow.

        Raises EngineError as `start` does.
        """
        if self._directory is None:
            raise RuntimeError("the game was not started, or is closed")
        self._engine.close()
        self._engine = Engine()
        directory = Path(self._directory.name)
        try:
            self._configure(directory)
        except WadError as error:
            raise EngineError(f"cannot play {self._wad}: {error}") from error
        self._launch(directory)

    def new_episode(self, seed: int, frame: Frame) -> None:
        """Begin the episode of `seed`, in [0, 2**31), and show its first frame."""
        engine = self._engine
        if self._bots:
            self._bots.leave(engine)
        if self._randomisation:
            self.is_randomised = self._randomisation.applies(seed)
            for command in self._randomisation.commands(seed):
                engine.send_game_command(command)
        engine.set_seed(seed)
        engine.new_episode()
        if self._bots:
            self._bots.join(engine)
        self._begin(frame)

    def make_action(self, action: int, frame: Frame) -> Outcome:
        """Hold the buttons of `action` for the frame skip; the reward includes any shaping."""
        engine = self._engine
        earlier = 0.0
        if self._was_dead:
            earlier = -engine.get_total_reward()
            engine.respawn_player()
            earlier += engine.get_total_reward()
        reward = engine.make_action(self._presses[action], self.options.frame_skip)
        return self._outcome(earlier + reward, frame)

    def get_state(self) -> DoomState | None:
        """Read the whole state now, or None once the episode has ended."""
        state = self._engine.get_state()
        if state is None:
            return None
        names = ("screen", *self.options.buffers)
        buffers = {name: getattr(state, f"{name}_buffer") for name in names}
        server = self._engine.get_server_state()
        players = tuple(
            (name, frags)
            for name, frags, is_there in zip(
                server.players_names, server.players_frags, server.players_in_game, strict=True
            )
            if is_there
        )
        return DoomState(self.variables, buffers, self._engine.get_episode_time(), players)

    def is_episode_finished(self) -> bool:
        """Tell whether the episode has ended, by the clock or in the game."""
        return self._engine.is_episode_finished()

    @property
    def total_reward(self) -> float:
        """The scenario's own reward of this episode so far, without shaping."""
        return self._engine.get_total_reward()

    @property
    def features(self) -> tuple[bool, ...]:
        """Whether an enemy is in the middle of the screen, and whether one is on it at all."""
        state = self._state
        if not self.feature_names or state is None or state.labels_buffer is None:
            return ()
        has_players = self._engine.is_multiplayer_game()
        return read_features(state.labels or [], state.labels_buffer, has_players=has_players)

    @property
    def variables(self) -> dict[str, float]:
        """Health, ammunition, weapons, position and the episode's counts, read just now."""
        read = self._engine.get_game_variable
        variables = {name: read(variable) for name, variable in _ENGINE_VARIABLES}
        variables["DEATHCOUNT"] -= self._earlier_deaths
        return variables

    @property
    def facts(self) -> dict[str, float]:
        """Whether the episode is another than the scenario has it, where it can be one.

        Of a deathmatch also how many others were killed, and how often the player died.
        """
        facts = {"randomised": float(self.is_randomised)} if self._randomisation else {}
        if self.scenario.is_deathmatch:
            facts |= {"kills": self._kills, "deaths": self.variables["DEATHCOUNT"]}
        return facts

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

    def _begin(self, frame: Frame) -> None:
        """Look at the first state of an episode."""
        engine = self._engine
        state = engine.get_state()
        self._state = state
        self._write(state, frame)
        self._was_dead = False
        # The engine counts deaths, and nothing else, for as long as it runs.
        self._earlier_deaths = engine.get_game_variable(vizdoom.GameVariable.DEATHCOUNT)
        self._kills = 0.0
        self._frags = engine.get_game_variable(_FRAGS)
        self._values = self._read() if self._weights.kinds else None

    def _outcome(self, reward: float, frame: Frame) -> Outcome:
        """Look at the state that a decision led to, whose own reward was `reward`."""
        engine = self._engine
        events: tuple[GameEvent, ...] = ()
        if self._values is not None:
            before, self._values = self._values, self._read()
            events = self._events.events(before, self._values)
            reward += self._weights.total(events)
        if self.scenario.is_deathmatch:
            # A suicide takes a frag away, but no kill; and KILLCOUNT is that of monsters.
            before, self._frags = self._frags, engine.get_game_variable(_FRAGS)
            self._kills += max(0.0, self._frags - before)
        if self._respawns:
            was_dead, self._was_dead = self._was_dead, engine.is_player_dead()
            if was_dead and not self._was_dead:
                events += (GameEvent("respawn"),)
        # Where nobody looked at the last tic, the state is still the one before.
        state = None if engine.is_episode_finished() else engine.get_state()
        if state is None:
            dies = engine.is_player_dead() and not self._respawns
            cut = engine.is_episode_timeout_reached() and not dies
            return Outcome(reward, ended=True, cut=cut, events=events)
        self._state = state
        self._write(state, frame)
        return Outcome(reward, ended=False, cut=False, events=events)

    def _launch(self, directory: Path) -> None:
        self._engine.launch(directory, self._start_deadline_s)

    def _configure(self, directory: Path) -> None:
        engine, options = self._engine, self.options
        engine.load_config(str(Path(vizdoom.scenarios_path) / f"{self.scenario.config_name}.cfg"))
        engine.set_mode(vizdoom.Mode.PLAYER)
        engine.set_window_visible(False)
        engine.set_sound_enabled(False)
        engine.set_audio_buffer_enabled(False)
        engine.set_screen_resolution(engine_resolution(options))
        is_rgb = options.color == "rgb"
        screen_format = vizdoom.ScreenFormat.RGB24 if is_rgb else vizdoom.ScreenFormat.GRAY8
        engine.set_screen_format(screen_format)
        engine.set_depth_buffer_enabled(options.depth)
        engine.set_labels_buffer_enabled("labels" in options.buffers or bool(self.feature_names))
        engine.set_automap_buffer_enabled(options.automap)
        engine.set_available_buttons([getattr(vizdoom.Button, name) for name in self._buttons])
        engine.set_available_game_variables([])
        if options.render:
            for name in DRAWABLE:
                getattr(engine, f"set_render_{name}")(name in options.drawn)
        self._set_up_scenario(directory)

    def _set_up_scenario(self, directory: Path) -> None:
        """Say what the scenario's configuration file does not."""
        engine, row = self._engine, self.scenario
        engine.set_doom_map(self._map_name)
        engine.set_episode_timeout(row.timeout_tics)
        engine.set_living_reward(row.living_reward)
        engine.set_death_penalty(row.death_penalty)
        engine.set_doom_skill(row.skill)
        if self._wad:
            engine.set_doom_scenario_path(str(self._wad.resolve()))
        if row.is_deathmatch:
            engine.add_game_args(DEATHMATCH_RULES)
            engine.set_frag_reward(1.0)
        if self._bots:
            engine.add_game_args(self._bots.write(directory))
        if row.loadout or self._randomisation:
            variant = directory / "variant.wad"
            source = Path(engine.get_doom_scenario_path())
            write_variant(variant, source, row, self._randomisation)
            engine.set_doom_scenario_path(str(variant))

    def _read(self) -> Values:
        read = self._engine.get_game_variable
        return tuple([read(variable) for variable in self._watched])
