from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import vizdoom

from games.doom.engine import EngineDiedError, EngineError
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.doom.scenarios import SCENARIOS
from games.doom.wad import Lump, map_names, read_wad, write_wad
from games.interface import GameDiedError
from tests.unit.engines import (
    NEEDS_REAL_MAPS,
    REAL_MAPS,
    ROOT,
    a_frame,
    group_of,
    own_engines,
    write_arenas,
)
from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BASIC = Path(vizdoom.scenarios_path) / "basic.wad"
REAL = ("deathmatch_rockets.wad", "health_gathering_supreme.wad")


def play(game: DoomGame, seed: int, decisions: int = 20) -> list[tuple]:
    frame = a_frame(game)
    game.new_episode(seed, frame)
    record: list[tuple] = [(frame.tobytes(),)]
    for turn in range(decisions):
        outcome = game.make_action(turn % game.action_count, frame)
        record.append((frame.tobytes(), outcome))
        if outcome.ended:
            break
    return record


def lumps_with(name: str, content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        others = [lump for lump in read_wad(BASIC) if lump.name != name]
        place = [lump.name for lump in others].index("MAP01") + (name == "TEXTMAP")
        write_wad(path, [*others[:place], Lump(name, content), *others[place:]])

    return write


BROKEN = {
    "nothing": (lambda path: path.write_bytes(b""), "not a WAD"),
    "a page": (lambda path: path.write_bytes(b"<html>" * 50), "not a WAD: it begins with b'<htm'"),
    "half": (lambda path: path.write_bytes(BASIC.read_bytes()[:1000]), "1000 bytes do not hold"),
    "no lump": (
        lambda path: path.write_bytes(BASIC.read_bytes().replace(b"\x0c\0\0\0", b"\x0c\0\0\x7f")),
        "cut off",
    ),
    "no map": (lambda path: write_wad(path, [Lump("MAP02"), Lump("TEXTMAP")]), "it has MAP02"),
    "no maps": (lambda path: write_wad(path, [Lump("MAP01")]), "no map MAP01; it has none"),
    "garbled map": (
        lumps_with("TEXTMAP", b'namespace = "zdoom"; ?'),
        'Script error, "MAP01" line 1',
    ),
    "empty map": (lumps_with("TEXTMAP", b'namespace = "zdoom";'), "Map has no vertices"),
    "garbled actors": (lumps_with("DECORATE", b"actor 12 {{{"), "DECORATE.*'12'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_wad_that_cannot_be_played_is_refused_with_the_reason(what: str, tmp_path: Path) -> None:
    write, reason = BROKEN[what]
    wad = tmp_path / "broken.wad"
    write(wad)
    game = DoomGame("basic", ObservationOptions(), wad=wad)
    with pytest.raises(EngineError, match=rf"cannot play .*broken\.wad.*{reason}") as refused:
        game.start()
    assert not isinstance(refused.value, GameDiedError)
    assert game._directory is None
    assert not own_engines()


def test_a_wad_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"missing\.wad: .*No such file"):
        DoomGame("basic", ObservationOptions(), wad=tmp_path / "missing.wad").start()


@pytest.fixture(params=["arenas", *(pytest.param(name, marks=NEEDS_REAL_MAPS) for name in REAL)])
def deathmatches(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A WAD for deathmatch: one made here, or one made by others."""
    if request.param == "arenas":
        return write_arenas(tmp_path / "arenas.wad", MAP01=1024, MAP02=512)
    return REAL_MAPS / request.param


def test_a_map_for_deathmatch_says_so_where_somebody_wants_to_play_alone(
    deathmatches: Path,
) -> None:
    with pytest.raises(EngineError, match="No player 1 start"):
        DoomGame("basic", ObservationOptions(), wad=deathmatches).start()


def test_a_map_that_a_scenario_lacks_is_refused_before_anything_starts() -> None:
    game = DoomGame("basic", ObservationOptions())
    with pytest.raises(EngineError, match=r"basic\.wad: there is no map MAP07; it has MAP01"):
        game.start("map07")


def test_a_wad_is_played_as_the_scenario_says(deathmatches: Path) -> None:
    scenario = replace(SCENARIOS["deathmatch_rockets"], timeout_tics=40, living_reward=0.5)
    record = []
    for map_name in map_names(deathmatches):
        game = DoomGame(scenario, ObservationOptions(), wad=deathmatches)
        game.start(map_name)
        episode = play(game, 1)
        assert game.variables["HEALTH"] > 0
        assert play(game, 1) == episode
        game.close()
        assert len(episode) == 1 + 40 / 4
        last = episode[-1][1]
        assert (last.ended, last.cut) == (True, True)
        assert sum(outcome.reward for _, outcome in episode[1:]) == pytest.approx(0.5 * 40)
        record.append(episode[0])
    assert len(set(record)) == len(record)


def test_a_wad_of_ones_own_is_another_game_than_the_scenarios(tmp_path: Path) -> None:
    copied = tmp_path / "copy.wad"
    write_wad(copied, read_wad(BASIC))
    with DoomGame("basic", ObservationOptions()) as stock:
        expected = play(stock, 3)
    with DoomGame("basic", ObservationOptions(), wad=copied) as own:
        assert play(own, 3) == expected


def test_an_engine_that_does_not_start_in_time_is_ended() -> None:
    game = DoomGame("basic", ObservationOptions(), start_deadline_s=0.0)
    with pytest.raises(EngineError, match=r"did not start within 0 s, .*SIGKILL"):
        game.start()
    game._start_deadline_s = 30.0
    game.start()
    assert play(game, 1)
    game.close()


def test_a_dead_engine_is_told_and_replaced() -> None:
    with DoomGame("basic", ObservationOptions()) as game:
        expected = play(game, 5)
        frame = a_frame(game)
        os.kill(game._engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="ended by SIGKILL") as died:
            game.make_action(0, frame)
        assert isinstance(died.value, GameDiedError)
        with pytest.raises(EngineDiedError):
            game.new_episode(5, frame)
        game.restart()
        assert play(game, 5) == expected
        os.kill(game._engine.pid, signal.SIGKILL)
        with pytest.raises(EngineDiedError, match="ended by SIGKILL"):
            game.new_episode(5, frame)
        game.restart()
        assert play(game, 5) == expected


PLAYER = """
import signal, sys
from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from tests.unit.engines import a_frame
if sys.argv[1] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
game = DoomGame("basic", ObservationOptions())
game.start()
frame = a_frame(game)
print(game._directory.name, game._engine.get_instance_id(), flush=True)
for _ in sys.stdin:
    game.new_episode(1, frame)
    print(game.make_action(0, frame).reward, flush=True)
"""


@pytest.fixture
def player(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Play in a process group of its own, an episode for every line sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", PLAYER, request.param],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("player", ["hearing"], indirect=True)
@pytest.mark.parametrize(
    ("send", "number", "cleans_up"),
    [
        (os.kill, signal.SIGKILL, True),
        (os.killpg, signal.SIGTERM, True),
        (os.killpg, signal.SIGKILL, False),
    ],
)
def test_engine_ends_with_its_player(
    player: subprocess.Popen[str],
    send: Callable[[int, int], None],
    number: signal.Signals,
    cleans_up: bool,
) -> None:
    assert player.stdout is not None
    directory, instance = player.stdout.readline().split()
    assert len(group_of(player.pid)) > 1
    send(player.pid, number)
    assert player.wait() == -number
    eventually_sync(lambda: not group_of(player.pid))
    if cleans_up:
        assert not Path(directory).exists()
        assert not list(Path("/dev/shm").glob(f"*{instance}"))


@pytest.mark.parametrize("player", ["deaf"], indirect=True)
def test_engine_stays_while_its_player_answers_a_signal_to_the_group(
    player: subprocess.Popen[str],
) -> None:
    assert player.stdin is not None
    assert player.stdout is not None
    player.stdout.readline()
    os.killpg(player.pid, signal.SIGTERM)
    player.stdin.write("\n")
    player.stdin.flush()
    assert float(player.stdout.readline()) < 0
    player.kill()
    eventually_sync(lambda: not group_of(player.pid))
