"""Runs of matches and builds, which the evaluator alone starts."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from elodrome.executor.v1 import run_pb2
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from tests.service.executor_bench import Bench, refusal, running_executor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Tokens


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Bench]:
    async with running_executor(service_environment, tokens, max_jobs=1) as bench:
        yield bench


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (run_pb2.RUN_TYPE_MATCH, {"match_id": str(uuid.uuid4()), "seats": 2}),
        (
            run_pb2.RUN_TYPE_BUILD,
            {"submission_id": str(uuid.uuid4()), "build_id": str(uuid.uuid4()), "seats": 1},
        ),
    ],
)
async def test_matches_and_builds_are_started_by_the_evaluator_alone(
    bench: Bench, kind: int, config: dict[str, Any]
) -> None:
    assert (await refusal(bench.create(config, type=kind))).field == "type"
    evaluator = bench.tokens.service("evaluator", on_behalf_of=bench.user_id)
    for wrong in ({}, config | {"image": "mine"}, config | {"seats": 99}):
        refused = await refusal(bench.create(wrong, type=kind, who=evaluator))
        assert refused.reason == "INVALID_CONFIG"
    run = await bench.create(config, type=kind, who=evaluator)
    assert (await bench.get(run.id)).config == ParseDict(config, Struct())
    await bench.verb("CancelRun", run.id)
    assert (await refusal(bench.verb("RetryRun", run.id))).reason == "NOT_RETRYABLE"
