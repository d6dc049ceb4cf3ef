from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import vizdoom

from games.doom.environment import DoomGame
from games.doom.observation import COLORS, LIMITS, ObservationError, ObservationOptions
from games.doom.scenarios import SCENARIOS

if TYPE_CHECKING:
    from games.doom.scenarios import Scenario

PRESETS = pytest.mark.parametrize("row", SCENARIOS.values(), ids=lambda row: row.name)
TICS = 100


@PRESETS
def test_presets_say_what_the_scenario_files_say(row: Scenario) -> None:
    documented = vizdoom.DoomGame()
    documented.load_config(str(Path(vizdoom.scenarios_path) / f"{row.config_name}.cfg"))
    assert row.buttons == tuple(button.name for button in documented.get_available_buttons())
    assert row.timeout_tics == documented.get_episode_timeout()
    assert row.living_reward == pytest.approx(documented.get_living_reward())
    assert row.death_penalty == documented.get_death_penalty()
    assert row.skill == documented.get_doom_skill()
    variables = documented.get_available_game_variables()
    assert row.variables == tuple(variable.name for variable in variables)


@PRESETS
def test_every_preset_starts_and_plays_with_its_own_actions(row: Scenario) -> None:
    options, choose = ObservationOptions(frame_skip=10), random.Random(0)
    frame = np.zeros((1, options.height, options.width), dtype=np.uint8)
    with DoomGame(row, options) as game:
        played, seed = 0, 0
        game.new_episode(seed, frame)
        while played < TICS:
            assert frame.any()
            played += options.frame_skip
            if game.make_action(choose.randrange(game.action_count), frame).ended:
                seed += 1
                game.new_episode(seed, frame)


@pytest.mark.parametrize(
    ("name", "weapon", "ammo"),
    [("deathmatch_rockets", "WEAPON5", "AMMO5"), ("deathmatch_shotgun", "WEAPON3", "AMMO3")],
)
def test_a_life_begins_with_the_loadout_alone(name: str, weapon: str, ammo: str) -> None:
    frame = np.zeros((1, 36, 64), dtype=np.uint8)
    with DoomGame(name, ObservationOptions(), action_combinations="turn_lr") as game:
        for seed in range(2):
            game.new_episode(seed, frame)
            game.make_action(0, frame)
            variables = game.variables
            held = [slot for slot in range(1, 8) if variables[f"WEAPON{slot}"]]
            assert [f"WEAPON{slot}" for slot in held] == [weapon]
            assert variables[ammo] > 0
            assert variables["AMMO2"] == 0


@pytest.mark.parametrize("name", LIMITS)
def test_an_observation_out_of_its_limits_is_refused(name: str) -> None:
    least, most = LIMITS[name]
    for value in (least, most):
        assert getattr(ObservationOptions(**{name: value}), name) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ObservationError, match=f"^{name}: must be from {least} to {most}"):
            ObservationOptions(**{name: value})


def test_an_unknown_color_is_refused() -> None:
    with pytest.raises(ObservationError, match=f"^color: must be one of {', '.join(COLORS)}"):
        ObservationOptions(color="blue")
