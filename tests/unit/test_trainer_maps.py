"""Which maps a config leads to, and what of it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from games.catalogue import map_id
from tests.places import SPACE, PlaceGame
from trainer import ppo
from trainer.actor import Actor, Post
from trainer.config import Config, ConfigError, parse
from trainer.maps import MapPlan, at_level, warnings
from trainer.networks import ActorCritic, Shape, build
from trainer.ppo import PPOBehaviour
from trainer.ring import Ring, RingShape
from trainer.weights import Weights

UNTIL = {"scenario": "basic", "until": 50}
LAST = {"scenario": "simpler_basic"}


def test_a_run_without_maps_is_trained_and_judged_on_its_scenario() -> None:
    plan = MapPlan(parse({"scenario": "take_cover"}))
    assert (plan.trained, plan.judged) == (("take_cover",), ("take_cover",))
    assert not plan.advance(1e9)


def test_maps_name_the_scenario_and_are_judged_on_unless_others_are() -> None:
    both = ["rocket_basic", "basic"]
    config = parse({"maps": both})
    assert config.scenario == "rocket_basic"
    assert MapPlan(config).trained == MapPlan(config).judged == tuple(both)
    assert parse({"maps": both, "scenario": "basic"}).scenario == "basic"
    assert parse({"maps": both, "map_id": map_id("doom", "basic")}).scenario == "basic"

    plan = MapPlan(parse({"maps": both, "test_maps": ["simpler_basic"]}))
    assert (plan.trained, plan.judged) == (tuple(both), ("simpler_basic",))


def test_a_curriculum_goes_on_when_its_bar_is_reached_and_never_back() -> None:
    bars = [{"scenario": "basic", "until": 50}, {"scenario": "rocket_basic", "until": 60}, LAST]
    plan = MapPlan(parse({"curriculum": bars}))
    walked = []
    for value in (49, 50, 10, 60, 1000, -5):
        moved = plan.advance(value)
        walked.append((moved, plan.stage, *plan.trained))
        assert plan.judged == plan.trained
    assert walked == [
        (False, 0, "basic"),
        (True, 1, "rocket_basic"),
        (False, 1, "rocket_basic"),
        (True, 2, "simpler_basic"),
        (False, 2, "simpler_basic"),
        (False, 2, "simpler_basic"),
    ]


def test_a_curriculum_survives_its_own_mapping() -> None:
    config = parse({"curriculum": [UNTIL, LAST], "test_maps": ["rocket_basic"]})
    stages = config.to_mapping()["curriculum"]
    own = dict.fromkeys(("bots", "bot_skill", "bot_health"))
    assert stages == [UNTIL | own, {"scenario": "simpler_basic", "until": None} | own]
    assert parse(config.to_mapping()) == config


FIGHT = "deathmatch_shotgun"
RISING = [
    {"scenario": FIGHT, "until": 2, "bots": 1, "bot_skill": 10},
    {"scenario": FIGHT, "until": 4, "bots": 3.0},
    {"scenario": FIGHT, "bot_health": 150},
]


def test_the_opponents_of_a_stage_come_where_its_bar_is_reached() -> None:
    config = parse({"curriculum": RISING, "bots": 4, "bot_skill": 60})
    assert parse(config.to_mapping()) == config
    plan = MapPlan(config)
    met = []
    for value in (1, 2, 3, 4):
        met.append([(at.bots, at.bot_skill, at.bot_health) for at in played_by(plan, config)])
        plan.advance(value)
    met.append([(at.bots, at.bot_skill, at.bot_health) for at in played_by(plan, config)])
    first, second, third = [(1, 10, 100)], [(3, 60, 100)], [(4, 60, 150)]
    assert met == [first, first, second, second, third]
    assert plan.judged == plan.trained

    # A training that goes on in a stage meets the same as one that never stopped.
    resumed = MapPlan(config)
    resumed.stage = plan.stage
    assert resumed.trained == plan.trained

    elsewhere = MapPlan(parse({"curriculum": RISING, "bots": 4, "test_maps": [FIGHT]}))
    assert elsewhere.judged == (FIGHT,)


def played_by(plan: MapPlan, config: Config) -> list[Config]:
    levels = [at_level(config, name) for name in plan.trained]
    assert {scenario for scenario, _ in levels} == {FIGHT}
    return [at for _, at in levels]


def test_a_stage_without_bots_may_be_any_map() -> None:
    alone = {"scenario": "basic", "until": 50, "bots": 0}
    grammar = {"action_combinations": "move_lr;attack"}
    assert parse({"curriculum": [alone, {"scenario": FIGHT}], "bots": 4, **grammar})


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            {"curriculum": [UNTIL | {"bots": 16}, LAST]},
            "curriculum[0].bots: must be a whole number ",
        ),
        ({"curriculum": [LAST | {"bot_skill": 101}]}, "curriculum[0].bot_skill: must be a whole "),
        ({"curriculum": [LAST | {"bot_health": 0}]}, "curriculum[0].bot_health: must be a whole "),
        ({"curriculum": [UNTIL, LAST | {"bots": 1}]}, "curriculum[1].bots: cannot play simpler_"),
        ({"curriculum": [UNTIL, LAST], "bots": 1}, "bots: cannot play basic, which is no "),
        (
            {"curriculum": [{"scenario": "self_play", "bots": 1}], "self_play": True},
            "curriculum[0].bots: is not to be had in self-play",
        ),
        (
            {"game": "catch", "curriculum": [{"scenario": "board", "bot_skill": 1}]},
            "curriculum[0].bot_skill: is not to be had in catch",
        ),
        ({"maps": ["basic", "no_such"]}, "maps[1]: must be one of basic, "),
        ({"maps": ["basic", "basic"]}, "maps: names something twice"),
        ({"maps": ["basic"], "scenario": "take_cover"}, "scenario: must be one of maps: basic"),
        ({"maps": ["basic"], "curriculum": [LAST]}, "curriculum: must not come together with maps"),
        (
            {"maps": ["basic", "defend_the_center"]},
            "maps[1]: defend_the_center has the actions turn_lr+attack, but basic has move_lr;",
        ),
        ({"test_maps": ["take_cover"]}, "test_maps[0]: take_cover has the actions move_lr, but "),
        (
            {"maps": ["basic", "take_cover"], "action_combinations": "move_lr;attack"},
            "action_combinations: take_cover has no attack",
        ),
        (
            {"maps": ["basic", "rocket_basic"], "games": 1, "actors": 1},
            "maps: must not be more than games, which is 1",
        ),
        (
            {"test_maps": ["basic", "rocket_basic"], "games": 1, "actors": 1},
            "test_maps: must not be more than games, which is 1",
        ),
        ({"curriculum": 3}, "curriculum: must be a list of at most 16 stages"),
        ({"curriculum": [LAST] * 17}, "curriculum: must be a list of at most 16 stages"),
        ({"curriculum": ["basic"]}, "curriculum[0]: must be a mapping with scenario and until"),
        ({"curriculum": [{"until": 3}, LAST]}, "curriculum[0].scenario: must be one of basic, "),
        ({"curriculum": [LAST, LAST]}, "curriculum[0].until: must be a number from "),
        (
            {"curriculum": [UNTIL, {**LAST, "until": "x"}]},
            "curriculum[1].until: must be a number from ",
        ),
        ({"curriculum": [UNTIL, UNTIL]}, "curriculum[1].until: must be left out: no stage follows"),
        (
            {"curriculum": [UNTIL, {**LAST, "untill": 3}]},
            "curriculum[1].untill: is not a field; did you mean until?",
        ),
        (
            {"curriculum": [UNTIL, {"scenario": "take_cover"}]},
            "curriculum[1].scenario: take_cover has the actions move_lr, but basic has ",
        ),
        ({"curriculum": [UNTIL, LAST], "target_return": 70}, "target_return: needs test_maps"),
        (
            {"curriculum": [UNTIL, LAST], "plateau_evaluations": 3},
            "plateau_evaluations: needs test_maps",
        ),
    ],
)
def test_maps_that_do_not_fit_are_refused_by_name(mapping: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        parse(mapping)
    assert str(refusal.value).startswith(message)


def test_one_grammar_can_make_maps_alike() -> None:
    maps = ["basic", "defend_the_center", "take_cover"]
    assert parse({"maps": maps[:2], "action_combinations": "attack"}).maps == tuple(maps[:2])
    # Two spellings of the same actions are no difference.
    assert parse({"maps": ["basic"], "action_combinations": " move_lr ; attack"})


@pytest.mark.parametrize(
    "trained",
    [
        {"maps": ["basic", "rocket_basic"]},
        {"scenario": "basic"},
        {"curriculum": [UNTIL, LAST]},
    ],
)
def test_a_map_that_is_trained_and_judged_on_is_worth_a_warning(trained: dict[str, Any]) -> None:
    def told(*test_maps: str) -> list[str]:
        return warnings(parse({**trained, "test_maps": test_maps}).to_mapping())

    assert told("basic")[0].startswith("test_maps: basic is trained on too")
    assert told() == []
    if "maps" in trained:
        assert told("simpler_basic") == []
        assert told("basic", "simpler_basic", "rocket_basic")[0].startswith(
            "test_maps: basic, rocket_basic are trained on too"
        )


def test_an_old_config_has_nothing_to_warn_of() -> None:
    assert warnings({"scenario": "basic"}) == []


def an_actor(maps: tuple[str, ...], made: list[PlaceGame], *, first: int = 0) -> Actor:
    """Put games 'first' to 'first + 4' of a ring of eight in charge of one actor."""

    def make_game(scenario: str) -> PlaceGame:
        made.append(PlaceGame(scenario))
        return made[-1]

    shape = Shape(frames=SPACE.shape, action_count=2, channels=(4,), hidden=8)
    ring = Ring(
        RingShape(space=SPACE, games=8, rollout_steps=4, windows=2, columns=dict(ppo.COLUMNS))
    )
    network = build(lambda: ActorCritic(shape), seed=0)
    weights = Weights(network)
    weights.publish(network)
    post = Post(
        number=0,
        first=first,
        count=4,
        seed=1,
        make_game=make_game,
        maps=maps,
        variables=(),
        behaviour=PPOBehaviour(shape),
        ring=ring,
        weights=weights,
    )
    return Actor(post)


def test_game_g_plays_the_map_that_its_number_in_the_ring_falls_on() -> None:
    made: list[PlaceGame] = []
    three = ("basic", "simpler_basic", "rocket_basic")
    an_actor(three, made, first=4)
    assert [game.scenario for game in made] == [three[number % 3] for number in range(4, 8)]


def test_only_games_of_other_maps_begin_anew() -> None:
    made: list[PlaceGame] = []
    actor = an_actor(("basic", "simpler_basic"), made)
    actor.restart(0)
    actor.choose(("basic", "rocket_basic"))
    assert [game.scenario for game in made[4:]] == ["rocket_basic"] * 2
    assert [game.is_closed for game in made] == [False, True, False, True, False, False]

    actor.restart(1)
    # An episode is three decisions long, a window four.
    episodes = actor.play(1, 0.0)
    assert [episode["score"] for episode in episodes] == [3.0, 12.0, 3.0, 12.0]

    actor.replace(1)
    assert actor.games[1].scenario == "rocket_basic"


def test_an_evaluation_plays_in_each_game_the_episodes_meant_for_it() -> None:
    actor = an_actor(("basic", "simpler_basic"), [])
    played = actor.evaluate([[1, 2], [3], [], [4, 5, 6]])
    assert [[one["score"] for one in game] for game in played] == [[3, 3], [6], [], [6, 6, 6]]
    assert all(one["length"] == 3 for game in played for one in game)
