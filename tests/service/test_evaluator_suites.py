"""Suites through gRPC: explicit seeds, versions that stay, and clear refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import suite_pb2
from elodrome.evaluator.v1 import suite_service_pb2 as suites

from games.catalogue import map_id
from tests.service.evaluator_bench import Bench, refusal, running_bench, scenario, seeds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.tokens import Tokens


def catch(**fields: Any) -> suite_pb2.SuiteScenario:
    return suite_pb2.SuiteScenario(**{"game": "catch", "scenario": "board", **fields})


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"scenarios": []}, "scenarios", "INVALID_FIELD"),
    ({"seeds": []}, "scenarios[0].seeds", "INVALID_FIELD"),
    ({"seeds": [2**30 - 1]}, "seeds[0]", "SEED_OUT_OF_RANGE"),
    ({"seeds": [2**30, 7]}, "seeds[1]", "SEED_OUT_OF_RANGE"),
    ({"seeds": [-(2**31)]}, "seeds[0]", "SEED_OUT_OF_RANGE"),
    ({"seeds": [2**30, 2**30]}, "seeds", "INVALID_FIELD"),
    ({"seeds": seeds(2_001)}, "scenarios", "SUITE_TOO_LARGE"),
    ({"scenarios": [scenario("e1m1")]}, "scenarios[0].scenario", "UNKNOWN_SCENARIO"),
    ({"scenarios": [scenario(), scenario()]}, "scenarios", "INVALID_FIELD"),
    ({"scenarios": [scenario(frame_skip=36)]}, "scenarios[0].frame_skip", "INVALID_FIELD"),
    (
        {"scenarios": [scenario(action_combinations="fly")]},
        "scenarios[0].action_combinations",
        "INVALID_FIELD",
    ),
    ({"metrics": [suite_pb2.SuiteMetric(name="joy")]}, "metrics[0].name", "UNKNOWN_METRIC"),
    ({"scenarios": [catch(scenario="basic")]}, "scenarios[0].scenario", "UNKNOWN_SCENARIO"),
    ({"scenarios": [catch(game="go")]}, "scenarios[0].game", "INVALID_FIELD"),
    ({"scenarios": [scenario(), catch()]}, "scenarios[1].game", "INVALID_FIELD"),
    ({"scenarios": [catch(frame_skip=4)]}, "scenarios[0].frame_skip", "INVALID_FIELD"),
    (
        {"scenarios": [catch(action_combinations="attack")]},
        "scenarios[0].action_combinations",
        "INVALID_FIELD",
    ),
    (
        {"scenarios": [catch()], "metrics": [suite_pb2.SuiteMetric(name="kills")]},
        "metrics[0].name",
        "UNKNOWN_METRIC",
    ),
    ({"name": "No Such Name"}, "name", "INVALID_FIELD"),
    ({"name": "../etc"}, "name", "INVALID_FIELD"),
]


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], keys_dir: Path, tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_bench(service_environment, keys_dir, tokens) as running:
        yield running


async def test_a_suite_says_what_is_played_and_measured(bench: Bench) -> None:
    created = await bench.suite(
        3,
        scenarios=[scenario(), scenario("take_cover", seeds=seeds(5)[3:], frame_skip=2)],
        metrics=[suite_pb2.SuiteMetric(name="return"), suite_pb2.SuiteMetric(name="decisions")],
    )
    read = await bench.suites.GetSuite(suites.GetSuiteRequest(id=created.id), metadata=bench.user)
    assert read == created
    assert read.version.number == 1
    assert read.version.episode_count == 5
    basic, cover = read.version.scenarios
    assert list(basic.seeds) == seeds(3)
    assert list(cover.seeds) == seeds(5)[3:]
    assert (basic.frame_skip, cover.frame_skip) == (4, 2)
    assert basic.map_id == map_id("doom", "basic")
    goals = [metric.goal for metric in read.version.metrics]
    assert goals == [suite_pb2.METRIC_GOAL_MAXIMIZE, suite_pb2.METRIC_GOAL_MINIMIZE]


async def test_a_suite_may_be_of_another_game_than_doom(bench: Bench) -> None:
    suite = await bench.suite(2, scenarios=[catch()])
    (board,) = suite.version.scenarios
    assert (board.game, board.frame_skip, board.action_combinations) == ("catch", 1, "")
    assert board.map_id == map_id("catch", "board")
    assert [metric.name for metric in suite.version.metrics] == ["return", "decisions"]


async def test_a_list_shows_suites_with_version_and_scenario_count(bench: Bench) -> None:
    names = [(await bench.suite()).name for _ in range(3)]
    first = await bench.suites.ListSuites(
        suites.ListSuitesRequest(page_size=2), metadata=bench.user
    )
    second = await bench.suites.ListSuites(
        suites.ListSuitesRequest(page_size=2, page_token=first.next_page_token),
        metadata=bench.user,
    )
    assert [suite.name for suite in [*first.items, *second.items]] == names[::-1]
    assert first.total == 3
    assert second.next_page_token == ""
    assert {(suite.version.number, len(suite.version.scenarios)) for suite in first.items} == {
        (1, 1)
    }


async def test_a_suite_that_cannot_be_is_refused_and_not_stored(bench: Bench) -> None:
    for change, field, reason in REFUSED:
        problem = await refusal(bench.suite(**change))
        assert problem.code is grpc.StatusCode.INVALID_ARGUMENT
        assert (problem.field, problem.reason) == (field, reason)
    listed = await bench.suites.ListSuites(suites.ListSuitesRequest(), metadata=bench.user)
    assert listed.total == 0


async def test_a_name_is_given_once(bench: Bench) -> None:
    taken = await bench.suite()
    problem = await refusal(bench.suite(name=taken.name))
    assert (problem.code, problem.reason) == (grpc.StatusCode.ALREADY_EXISTS, "SUITE_NAME_TAKEN")


async def test_a_change_is_a_new_version_and_the_old_one_stays(bench: Bench) -> None:
    suite = await bench.suite(2)
    request = suites.CreateSuiteVersionRequest(
        suite_id=suite.id, scenarios=[scenario()], seeds=seeds(6)
    )
    second = await bench.suites.CreateSuiteVersion(request, metadata=bench.user)
    repeat = await bench.suites.CreateSuiteVersion(request, metadata=bench.user)
    assert (second.number, second.episode_count, repeat) == (2, 6, second)
    newest = await bench.suites.GetSuite(suites.GetSuiteRequest(id=suite.id), metadata=bench.user)
    first = await bench.suites.GetSuite(
        suites.GetSuiteRequest(id=suite.id, version=1), metadata=bench.user
    )
    assert (newest.version, newest.newest_version) == (second, 2)
    assert first.version == suite.version
    listed = await bench.suites.ListSuiteVersions(
        suites.ListSuiteVersionsRequest(suite_id=suite.id), metadata=bench.user
    )
    assert [version.number for version in listed.items] == [2, 1]
    missing = suites.GetSuiteRequest(id=suite.id, version=3)
    problem = await refusal(bench.suites.GetSuite(missing, metadata=bench.user))
    assert problem.reason == "SUITE_VERSION_NOT_FOUND"


async def test_somebody_else_reads_a_suite_and_cannot_change_it(
    bench: Bench, tokens: Tokens
) -> None:
    suite = await bench.suite()
    other = tokens.user()
    read = await bench.suites.GetSuite(suites.GetSuiteRequest(id=suite.id), metadata=other)
    assert read.name == suite.name
    change = suites.UpdateSuiteRequest(id=suite.id, description="mine now")
    problem = await refusal(bench.suites.UpdateSuite(change, metadata=other))
    assert problem.code is grpc.StatusCode.NOT_FOUND
    version = suites.CreateSuiteVersionRequest(
        suite_id=suite.id, scenarios=[scenario()], seeds=seeds(9)
    )
    problem = await refusal(bench.suites.CreateSuiteVersion(version, metadata=other))
    assert problem.code is grpc.StatusCode.NOT_FOUND
    problem = await refusal(
        bench.suites.UpdateSuite(change, metadata=tokens.user(roles=("VIEWER",)))
    )
    assert problem.code is grpc.StatusCode.PERMISSION_DENIED


async def test_only_administrators_evaluate_everybodys_checkpoints(
    bench: Bench, tokens: Tokens
) -> None:
    rule = suite_pb2.AutoEvaluateRule(best=True, everyone=True)
    problem = await refusal(bench.suite(auto_evaluate=rule))
    assert problem.reason == "EVERYONE_NOT_ALLOWED"
    suite = await bench.suite(auto_evaluate=suite_pb2.AutoEvaluateRule(every=5))
    assert suite.auto_evaluate.every == 5
    change = suites.UpdateSuiteRequest(id=suite.id, auto_evaluate=rule)
    changed = await bench.suites.UpdateSuite(change, metadata=tokens.admin())
    assert changed.auto_evaluate == rule
    assert changed.description == suite.description
