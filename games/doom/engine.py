"""An engine process starts in time or says why not, and never outlives the one that plays it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import vizdoom

from games.doom.launcher import LOBBY, write_launcher
from games.doom.wad import WadError, map_names
from games.interface import GameDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Result = TypeVar("Result")

START_DEADLINE_S = 30.0

# How a shell tells that a signal ended a process.
_SIGNALS = {str(128 + number): f"ended by {number.name}" for number in signal.Signals}
_WORDS_LIMIT = 300
_LAST_LINES = 3
_RETRY_S = 0.05
_DIAGNOSIS_S = 5.0
# What ViZDoom says itself when the engine said nothing to it.
_CRASHED = "Unexpected ViZDoom instance crash."
# What ViZDoom raises when an engine is gone; the last, where its words are no UTF-8.
_GONE = (
    vizdoom.ViZDoomErrorException,
    vizdoom.ViZDoomUnexpectedExitException,
    vizdoom.ViZDoomIsNotRunningException,
    UnicodeDecodeError,
)


class EngineError(RuntimeError):
    """The engine cannot play what it was asked to; the message has the reason in its own words."""


class EngineDiedError(EngineError, GameDiedError):
    """The engine process ended while it played; the message says how, and its last words."""


def _or_die(method: Callable[..., Result]) -> Callable[..., Result]:
    """Let a call of ViZDoom's raise EngineDiedError when the process behind it has ended."""

    @wraps(method)
    def call(engine: Engine, *arguments: object) -> Result:
        try:
            return method(engine, *arguments)
        except _GONE as error:
            raise EngineDiedError(f"the engine died: {engine.last_words(error)}") from error

    return call


class Engine(vizdoom.DoomGame):
    """A ViZDoom engine; set it up as ViZDoom documents, then `launch` it instead of `init`."""

    def __init__(self) -> None:
        """Begin with ViZDoom's own settings; there is no process yet."""
        super().__init__()
        self._directory = Path(os.devnull)  # where no file is
        self._is_late = False

    init = _or_die(vizdoom.DoomGame.init)
    make_action = _or_die(vizdoom.DoomGame.make_action)
    advance_action = _or_die(vizdoom.DoomGame.advance_action)
    respawn_player = _or_die(vizdoom.DoomGame.respawn_player)

    @_or_die
    def new_episode(self, recording_file_path: str = "") -> None:
        """Begin an episode, as ViZDoom does."""
        # What was said in earlier ones explains nothing and would grow for ever.
        with suppress(OSError):
            os.truncate(self._directory / "log", 0)
        super().new_episode(recording_file_path)

    def launch(
        self, directory: Path, deadline_s: float = START_DEADLINE_S, *, is_alone: bool = True
    ) -> None:
        """Start the engine process in `directory` and load its map, all within `deadline_s`.

        Once only: a controller whose engine died in the middle of something would wait for that
        for ever. Not `is_alone` is who hosts or joins: they start with their map, so it has to be
        known to load. Raises EngineError, and then no process is left.
        """
        self._directory = directory
        self._is_late = False
        map_name = self.get_doom_map()
        self._check_map()
        for name in ("log", "pid", "status", "_vizdoom.ini"):
            (directory / name).unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            (directory / "ready").rmdir()
        self.set_vizdoom_path(str(write_launcher(directory)))
        # What it says is the reason when it fails, and costs nothing that could be measured.
        self.set_console_enabled(True)
        try:
            with self._watched(deadline_s):
                self._start(is_alone=is_alone)
        except EngineError as error:
            self.close()
            late = f"it did not start within {deadline_s:g} s, " if self._is_late else ""
            wad = Path(self.get_doom_scenario_path()).name
            raise EngineError(f"cannot play {wad}, map {map_name}: {late}{error}") from error

    @property
    def pid(self) -> int | None:
        """The number of the engine process, as soon as there is one."""
        pid = self._read("pid")
        return int(pid) if pid.isdigit() else None

    def kill(self) -> bool:
        """End the engine process at once, if there is one; who waits for it learns of its death."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def last_words(self, error: Exception | None = None) -> str:
        """Tell how the process ended and what it said last, to ViZDoom or in its log."""
        said = str(error) if isinstance(error, vizdoom.ViZDoomErrorException) else ""
        if said in {"", _CRASHED}:
            lines = [line for line in self._read("log").splitlines() if line.strip()]
            said = "; ".join(lines[-_LAST_LINES:])
        words = " ".join(said.split())[-_WORDS_LIMIT:]
        status = self._read("status")
        ended = _SIGNALS.get(status, f"exited with {status}" if status and not words else "")
        return ": ".join(part for part in (ended, words) if part)

    def _check_map(self) -> None:
        path, name = Path(self.get_doom_scenario_path()), self.get_doom_map().upper()
        try:
            known = map_names(path)
        except (WadError, OSError) as error:
            raise EngineError(f"cannot play {path.name}: {error}") from error
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise EngineError(f"cannot play {path.name}: there is no map {name}; {has}")

    def _start(self, *, is_alone: bool) -> None:
        map_name, game_args = self.get_doom_map(), self.get_game_args()
        if is_alone:
            self.add_game_args("-file lobby.wad")
            self.set_doom_map(LOBBY)
        self.init()
        try:
            (self._directory / "ready").mkdir()
        except FileExistsError:
            raise EngineError(self._diagnosis(game_args, map_name, is_alone=is_alone)) from None
        if is_alone:
            # ViZDoom's own way to change the map would keep the watcher from running.
            self.send_game_command(f"map {map_name}")
            self.advance_action(2)
            self.set_doom_map(map_name)

    def _diagnosis(self, game_args: str, map_name: str, *, is_alone: bool) -> str:
        """Find out why there was no start: under control an engine does not say, else it does."""
        words = self.last_words()
        if self._is_late or not is_alone:
            return words
        wads = ["-iwad", self.get_doom_game_path(), "-file", self.get_doom_scenario_path()]
        quiet = [*("+viz_window_hidden", "1"), *("+viz_noxserver", "1"), "-nosound"]
        command = [self._directory / "engine", *wads, *quiet, *game_args.split(), "+map", map_name]
        try:
            subprocess.run(command, check=False, timeout=_DIAGNOSIS_S)  # noqa: S603 - our own script
        except subprocess.TimeoutExpired:
            return words
        return self.last_words()

    @contextmanager
    def _watched(self, deadline_s: float) -> Iterator[None]:
        """Kill the engine after `deadline_s`, which wakes up whoever waits for it."""
        over = threading.Event()

        def watch() -> None:
            self._is_late = not over.wait(deadline_s)
            while self._is_late and not self.kill() and not over.wait(_RETRY_S):
                pass

        watcher = threading.Thread(target=watch, name="engine-start", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()

    def _read(self, name: str) -> str:
        with suppress(OSError):
            return (self._directory / name).read_text(errors="replace").strip()
        return ""


def pin_thread(core: int) -> None:
    """Keep the calling thread, and the engines it will start, on one of this process's cores.

    Engine and controller hand over twice a decision; across two cores each hand-over pays a wake-up
    and a lone game runs at a third of its speed. `core` counts modulo the cores there are.
    """
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[core % len(available)]})
