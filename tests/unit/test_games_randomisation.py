from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import vizdoom

from games.doom.environment import DoomGame
from games.doom.observation import ObservationOptions
from games.doom.randomisation import LOOKS, Randomisation, write_variant
from games.doom.scenarios import SCENARIOS
from games.doom.wad import Lump, read_wad, textures, write_wad

LIMIT = 1000
TRAINING, EVALUATION = range(4), range(LIMIT, LIMIT + 2)


def play(game: DoomGame, seed: int) -> tuple[bytes, list[tuple]]:
    """Answer the first frame, and rewards, variables and ends of 15 decisions."""
    space = game.observation_space
    frame = np.zeros((space.frame_channels, space.height, space.width), dtype=np.uint8)
    game.new_episode(seed, frame)
    first, course, choose = frame.tobytes(), [], random.Random(seed)
    for _ in range(15):
        outcome = game.make_action(choose.randrange(game.action_count), frame)
        # Deaths are counted over all episodes of an engine.
        variables = {key: value for key, value in game.variables.items() if key != "DEATHCOUNT"}
        course.append((outcome.reward, outcome.ended, variables))
        if outcome.ended:
            break
    return first, course


@pytest.mark.parametrize("scenario", ["basic", "deathmatch"])
def test_textures_change_what_is_seen_and_nothing_else(scenario: str) -> None:
    randomisation = Randomisation(LIMIT, textures=True)
    with ExitStack() as stack:
        stock = stack.enter_context(DoomGame(scenario, ObservationOptions()))
        games = [
            stack.enter_context(
                DoomGame(scenario, ObservationOptions(), randomisation=randomisation)
            )
            for _ in range(2)
        ]
        for seed in TRAINING:
            expected = play(stock, seed)
            found = play(games[0], seed)
            assert found[0] != expected[0]
            assert found[1] == expected[1]
            assert play(games[1], seed) == found
            assert games[0].is_randomised
        for seed in EVALUATION:
            assert play(games[0], seed) == play(stock, seed)
            assert not games[0].is_randomised


def test_spawn_turns_the_player_and_only_in_training() -> None:
    frame = np.zeros((1, 36, 64), dtype=np.uint8)
    randomisation = Randomisation(LIMIT, spawn=True)
    angles = []
    with DoomGame("health_gathering", ObservationOptions(), randomisation=randomisation) as game:
        for seed in (*TRAINING, *EVALUATION, *TRAINING):
            game.new_episode(seed, frame)
            angles.append(game.variables["ANGLE"])
    assert len(set(angles[:4])) == 4
    assert len(set(angles[4:6])) == 1
    assert angles[6:] == angles[:4]


def test_health_makes_monsters_weaker_and_only_in_training() -> None:
    weaker = Randomisation(LIMIT, health=True)
    assert {command for seed in range(50) for command in weaker.commands(seed)} == {
        f"skill {skill}" for skill in range(5)
    }
    options, actions = ObservationOptions(), "turn_lr;attack"
    with (
        DoomGame("deathmatch", options, action_combinations=actions) as stock,
        DoomGame("deathmatch", options, action_combinations=actions, randomisation=weaker) as game,
    ):
        for seed in EVALUATION:
            assert play(game, seed) == play(stock, seed)
        weakest = 18
        assert weaker.commands(weakest) == ["skill 0"]
        assert kills(game, weakest) > kills(stock, weakest)


def kills(game: DoomGame, seed: int) -> float:
    """Turn and shoot at random for a while, and count the monsters that did not survive it."""
    frame, choose = np.zeros((1, 36, 64), dtype=np.uint8), random.Random(3)
    game.new_episode(seed, frame)
    for _ in range(40):
        game.make_action(choose.randrange(game.action_count), frame)
    return game.variables["KILLCOUNT"]


def test_evaluation_is_never_randomised() -> None:
    everything = Randomisation(LIMIT, textures=True, health=True, spawn=True)
    stock = ["elodrome_look 0", "skill 4", "elodrome_heading 0"]
    assert everything.commands(LIMIT) == everything.commands(2**31 - 1) == stock
    assert len({tuple(everything.commands(seed)) for seed in range(LIMIT)}) == LIMIT
    assert everything.commands(7) == everything.commands(7)
    assert everything.applies(LIMIT - 1)
    assert not everything.applies(LIMIT)
    assert not Randomisation(LIMIT).applies(0)


def test_looks_are_textures_that_the_engine_comes_with() -> None:
    freedoom = Path(vizdoom.scenarios_path).with_name("freedoom2.wad")
    (defined,) = [lump.content for lump in read_wad(freedoom) if lump.name == "TEXTURE1"]
    assert [look for look in LOOKS if look.encode("ascii") not in defined] == []
    assert len(set(LOOKS)) == len(LOOKS) == 32


def test_textures_of_a_map_in_another_format_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "old.wad"
    write_wad(source, [Lump("MAP01"), Lump("SIDEDEFS", bytes(30))])
    randomisation = Randomisation(LIMIT, textures=True)
    with pytest.raises(ValueError, match=r"^textures: old\.wad has no map in the UDMF format"):
        write_variant(tmp_path / "variant.wad", source, SCENARIOS["basic"], randomisation)


def test_a_wad_is_read_as_it_was_written(tmp_path: Path) -> None:
    wall = b'sidedef { texturetop="-"; texturemiddle = "BRICK1"; sector=0; }'
    sky = b'sector { texturefloor="FLAT1_1"; textureceiling="F_SKY1"; }'
    lumps = [Lump("MAP01"), Lump("TEXTMAP", wall + sky), Lump("ENDMAP"), Lump("EIGHTCHR", b"\0")]
    path = tmp_path / "some.wad"
    write_wad(path, lumps)
    assert read_wad(path) == lumps
    assert textures(lumps) == ["BRICK1", "FLAT1_1"]
