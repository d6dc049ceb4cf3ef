"""Who plays for the referee, and whom it refuses to judge."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from elodrome.evaluator.v1.suite_pb2 import SuiteScenario

from referee.agents import builtin_agent
from referee.evaluations import check_disjoint
from referee.playing import MEASURES
from services.evaluator.content import SEED_FLOOR, SEED_LIMIT
from services.evaluator.metrics import METRICS
from services.evaluator.servicers.evaluations import AGENTS
from trainer import config
from trainer.checkpoint import CheckpointError

NOTHING = np.zeros((4, 36, 64), dtype=np.uint8)
BASIC = SuiteScenario(game="doom", scenario="basic", frame_skip=6)


def actions(name: str, seed: int, count: int = 300) -> list[int]:
    agent = builtin_agent(name, BASIC)
    agent.begin(seed, 5)
    return [agent.act(NOTHING, {}) for _ in range(count)]


def test_the_random_agent_follows_its_seed_and_takes_every_action() -> None:
    assert actions("random", 1) == actions("random", 1)
    assert actions("random", 1) != actions("random", 2)
    counted = Counter(actions("random", 3, 5_000))
    assert set(counted) == set(range(5))
    assert all(900 < count < 1_100 for count in counted.values())


def test_the_fixed_agent_always_takes_the_first_action() -> None:
    assert set(actions("fixed", 1)) == {0}


def test_built_in_agents_decide_as_often_as_the_suite_says() -> None:
    assert builtin_agent("random", BASIC).observation["frame_skip"] == 6


def test_a_player_is_never_judged_on_seeds_it_may_have_trained_on() -> None:
    apart = [SuiteScenario(scenario="basic", seeds=[SEED_FLOOR, SEED_LIMIT - 1])]
    check_disjoint({"seed": config.SEED_LIMIT - 1}, apart)
    for trained in ({"seed": config.SEED_LIMIT}, {"seed": -1}, {}, {"seed": "7"}):
        with pytest.raises(CheckpointError, match="seed overlap"):
            check_disjoint(trained, apart)
    injected = [SuiteScenario(scenario="basic", seeds=[SEED_FLOOR, 77])]
    with pytest.raises(CheckpointError, match="seed overlap: scenario basic has 77"):
        check_disjoint({"seed": 7}, injected)


def test_a_player_that_trained_elsewhere_is_judged_on_suite_seeds_only() -> None:
    imported = {"imported_from": "github.com/glample/Arnold"}
    check_disjoint(imported, [SuiteScenario(scenario="basic", seeds=[SEED_FLOOR])])
    with pytest.raises(CheckpointError, match="77, a training seed"):
        check_disjoint(imported, [SuiteScenario(scenario="basic", seeds=[77])])


def test_training_and_suites_divide_the_seeds_between_them() -> None:
    assert config.SEED_LIMIT == SEED_FLOOR
    assert config.Config().seed < SEED_FLOOR < SEED_LIMIT == 2**31


def test_the_evaluator_names_the_metrics_the_referee_measures() -> None:
    assert set(METRICS) == set(MEASURES)
    assert AGENTS == ("random", "fixed")
