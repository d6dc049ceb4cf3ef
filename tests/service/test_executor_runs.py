"""The owner's side of runs, through gRPC, with nobody at work."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.executor.v1 import (
    events_pb2,
    metric_service_pb2,
    run_pb2,
    run_service_pb2,
    training_service_pb2,
)
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import func, select

from games import catalogue
from kit.outbox import OutboxEvent
from services.executor.models.metric import MetricChunk
from tests.service.executor_bench import Bench, refusal, running_executor
from tests.service.registry_service import a_registry
from trainer import config as training

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Tokens

TESTING = run_pb2.RUN_TYPE_TESTING
EXTERNAL = run_pb2.RUN_TYPE_EXTERNAL


@pytest.fixture
async def bench(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Bench]:
    # One slot, taken at once: what is created waits in the queue.
    async with running_executor(service_environment, tokens, max_jobs=1) as bench:
        yield bench


def _varint(value: int) -> bytes:
    head = bytes([value & 127 | 128]) if value > 127 else b""
    return head + _varint(value >> 7) if head else bytes([value])


async def test_a_run_is_created_with_a_complete_config_and_a_chosen_seed(bench: Bench) -> None:
    run = await bench.create({"algorithm": "DQN", "gamma": 0.9}, tags=["a", "b", "a"])
    again = await bench.get(run.id)
    assert again.config["gamma"] == 0.9
    assert again.config["batch_size"] == training.parse({"algorithm": "DQN"}).batch_size
    assert again.config["seed"] == run.seed
    assert 0 <= run.seed < 2**30
    assert (again.game, again.map_id) == ("doom", catalogue.map_id("doom", "basic"))
    assert again.owner_id == bench.user_id
    assert list(again.tags) == ["a", "b"]
    assert again.name.startswith("training ")
    other = await bench.create({})
    assert other.seed != run.seed


async def test_a_run_that_is_judged_on_what_it_trains_on_says_so(bench: Bench) -> None:
    maps = {"maps": ["basic", "rocket_basic"]}
    run = await bench.create({**maps, "test_maps": ["simpler_basic", "basic"]})
    assert len(run.warnings) == 1
    assert run.warnings[0].startswith("test_maps: basic is trained on too")
    assert list((await bench.get(run.id)).warnings) == list(run.warnings)
    assert not (await bench.create({**maps, "test_maps": ["simpler_basic"]})).warnings


async def test_a_run_on_catch_is_complete_and_listed_by_its_game(bench: Bench) -> None:
    board = catalogue.map_id("catch", "board")
    made = [await bench.create({"game": "catch"}), await bench.create({}, map_id=board)]
    for run in made:
        assert (run.game, run.map_id, run.config["scenario"]) == ("catch", board, "board")
    await bench.create({})
    request = run_service_pb2.ListRunsRequest(game="catch")
    listed = await bench.runs.ListRuns(request, metadata=bench.user)
    assert {run.id for run in listed.items} == {run.id for run in made}


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"gama": 0.9}, "config.gama"),
        ({"game": "catch", "frame_skip": 4}, "config.frame_skip"),
        ({"game": "doom", "map_id": catalogue.map_id("catch", "board")}, "config.game"),
        ({"map_id": ["basic"]}, "config.map_id"),
        ({"maps": ["basic", "take_cover"]}, "config.maps[1]"),
        (
            {"curriculum": [{"scenario": "basic"}, {"scenario": "basic"}]},
            "config.curriculum[0].until",
        ),
        ({"gamma": 2}, "config.gamma"),
        ({"map_id": str(uuid.UUID(int=7))}, "config.map_id"),
        ({"seed": 2**30}, "config.seed"),
    ],
)
async def test_a_wrong_config_is_refused_by_field_and_nothing_is_stored(
    bench: Bench, config: dict[str, Any], field: str
) -> None:
    error = await refusal(bench.create(config))
    assert (error.reason, error.field) == ("INVALID_CONFIG", field)
    runs = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=bench.user)
    assert runs.total == 0


async def test_a_request_id_makes_one_run_however_often_and_at_once(bench: Bench) -> None:
    request_id = str(uuid.uuid4())
    runs = await asyncio.gather(
        *[bench.create({"gamma": 0.5}, request_id=request_id) for _ in range(10)]
    )
    assert len({run.id for run in runs}) == 1
    error = await refusal(bench.create({"gamma": 0.6}, request_id=request_id))
    assert error.reason == "REQUEST_ID_REUSED"
    somebody = bench.tokens.user()
    theirs = await bench.create({"gamma": 0.6}, request_id=request_id, who=somebody)
    assert theirs.id != runs[0].id


async def test_config_json_is_the_config_as_text(bench: Bench) -> None:
    run = await bench.runs.CreateRun(
        run_service_pb2.CreateRunRequest(config_json='{"gamma": 0.25}'), metadata=bench.user
    )
    assert run.config["gamma"] == 0.25
    bad = run_service_pb2.CreateRunRequest(config_json="[1]")
    error = await refusal(bench.runs.CreateRun(bad, metadata=bench.user))
    assert error.field == "config_json"


async def test_the_queue_shows_places_and_moves_up(bench: Bench) -> None:
    working = await bench.create({})
    await bench.acquire(working)
    first, second = await bench.create({}), await bench.create({})
    urgent = await bench.create({}, priority=5)
    assert [
        (await bench.get(run.id)).queue_position for run in (working, urgent, first, second)
    ] == [0, 1, 2, 3]
    cancelled = await bench.verb("CancelRun", urgent.id)
    assert cancelled.state == run_pb2.RUN_STATE_CANCELLED
    assert [(await bench.get(run.id)).queue_position for run in (first, second)] == [1, 2]


async def test_another_users_run_does_not_exist(bench: Bench) -> None:
    run = await bench.create({})
    stranger = bench.tokens.user()
    get = run_service_pb2.GetRunRequest(id=run.id)
    assert (await refusal(bench.runs.GetRun(get, metadata=stranger))).reason == "RUN_NOT_FOUND"
    stop = run_service_pb2.StopRunRequest(id=run.id)
    assert (await refusal(bench.runs.StopRun(stop, metadata=stranger))).reason == "RUN_NOT_FOUND"
    mine = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=stranger)
    assert mine.total == 0
    operator = bench.tokens.user(roles=("OPERATOR",))
    seen = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=operator)
    assert [item.id for item in seen.items] == [run.id]
    watching = bench.runs.WatchRun(run_service_pb2.WatchRunRequest(id=run.id), metadata=stranger)
    assert (await refusal(watching.read())).reason == "RUN_NOT_FOUND"


async def test_a_service_creates_for_a_user_who_then_owns_the_run(bench: Bench) -> None:
    evaluation_id = str(uuid.uuid4())
    evaluator = bench.tokens.service("evaluator", on_behalf_of=bench.user_id)
    run = await bench.create(
        {"evaluation_id": evaluation_id},
        who=evaluator,
        type=run_pb2.RUN_TYPE_EVALUATION,
        request_id=evaluation_id,
    )
    assert (await bench.get(run.id)).owner_id == bench.user_id
    wrong = bench.create({"model": "x"}, type=run_pb2.RUN_TYPE_EVALUATION)
    assert (await refusal(wrong)).reason == "INVALID_CONFIG"


async def test_a_config_nested_ten_thousand_deep_is_refused(bench: Bench) -> None:
    def field(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(content)) + content

    # By hand, because the library writes nothing that it would not read again.
    struct = b""
    for _ in range(10_000):
        struct = field(1, field(1, b"a") + field(2, field(5, struct)))
    number = run_service_pb2.CreateRunRequest.DESCRIPTOR.fields_by_name["config"].number
    async with grpc.aio.insecure_channel(bench.running.address) as plain:
        create = plain.unary_unary("/elodrome.executor.v1.RunService/CreateRun")
        refused = await refusal(create(field(number, struct), metadata=bench.user))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "BAD_MESSAGE")


async def test_a_number_that_is_no_type_is_refused(bench: Bench) -> None:
    for call, request in (
        (bench.runs.CreateRun, run_service_pb2.CreateRunRequest(type=99)),
        (bench.runs.ListRuns, run_service_pb2.ListRunsRequest(type=99)),
    ):
        refused = await refusal(call(request, metadata=bench.user))
        assert refused.field == "type"
        assert "TRAINING" in refused.message
    listed = await bench.runs.ListRuns(run_service_pb2.ListRunsRequest(), metadata=bench.user)
    assert listed.total == 0


async def test_only_the_labels_of_a_run_change(bench: Bench) -> None:
    run = await bench.create({}, notes="old")
    changed = await bench.verb(
        "UpdateRun", run.id, name="new", tags=run_service_pb2.TagList(items=[])
    )
    assert (changed.name, changed.notes, list(changed.tags)) == ("new", "old", [])
    config = ParseDict({"gamma": 0.1}, Struct())
    error = await refusal(bench.verb("UpdateRun", run.id, config=config, name="newer"))
    assert error.reason == "CONFIG_IMMUTABLE"
    assert (await bench.get(run.id)).name == "new"


async def test_a_clone_differs_in_its_overrides_only(bench: Bench) -> None:
    run = await bench.create({"gamma": 0.9, "learning_rate": 0.001}, tags=["a"])
    clone = await bench.verb("CloneRun", run.id, overrides=ParseDict({"gamma": 0.8}, Struct()))
    assert clone.parent_run_id == run.id
    assert clone.seed == run.seed
    request = run_service_pb2.DiffRunsRequest(id=run.id, other_id=clone.id)
    diff = await bench.runs.DiffRuns(request, metadata=bench.user)
    assert [
        (item.key, item.left.number_value, item.right.number_value) for item in diff.differences
    ] == [("gamma", 0.9, 0.8)]
    reseeded = await bench.verb("CloneRun", run.id, seed=7)
    assert (reseeded.seed, reseeded.config["seed"]) == (7, 7)


async def test_moves_that_do_not_exist_are_refused_with_both_states(bench: Bench) -> None:
    run = await bench.create({})
    cancelled = await bench.verb("CancelRun", (await bench.create({})).id)
    for verb, run_id, current in (
        ("ResumeRun", run.id, "PENDING"),
        ("RetryRun", run.id, "PENDING"),
        ("StopRun", cancelled.id, "CANCELLED"),
        ("PauseRun", cancelled.id, "CANCELLED"),
        ("RetryRun", cancelled.id, "CANCELLED"),
    ):
        error = await refusal(bench.verb(verb, run_id))
        assert error.reason == "ILLEGAL_TRANSITION", verb
        assert error.metadata["current"] == current
    assert (await bench.get(cancelled.id)).state == run_pb2.RUN_STATE_CANCELLED


async def test_a_paused_run_in_the_queue_takes_no_slot_until_it_is_resumed(bench: Bench) -> None:
    working = await bench.create({})
    leased = await bench.acquire(working)
    waiting = await bench.create({})
    assert (await bench.verb("PauseRun", waiting.id)).state == run_pb2.RUN_STATE_PAUSED
    await leased.report(run_pb2.JOB_OUTCOME_COMPLETED)
    resumed = await bench.verb("ResumeRun", waiting.id)
    assert resumed.state == run_pb2.RUN_STATE_PENDING
    assert (await bench.jobs(waiting.id))[0].state == run_pb2.JOB_STATE_STOPPED
    await bench.acquire(waiting)


async def test_stop_training_without_a_name_stops_all_of_ones_own(bench: Bench) -> None:
    mine = [await bench.create({}) for _ in range(3)]
    theirs = await bench.create({}, who=bench.tokens.user())
    admin = bench.tokens.admin()
    nothing = await bench.training.StopTraining(
        training_service_pb2.StopTrainingRequest(), metadata=admin
    )
    assert nothing.stopped_count == 0
    answer = await bench.training.StopTraining(
        training_service_pb2.StopTrainingRequest(), metadata=bench.user
    )
    assert answer.stopped_count == 3
    assert list(answer.run_ids) == [run.id for run in mine]
    get = run_service_pb2.GetRunRequest(id=theirs.id)
    untouched = await bench.runs.GetRun(get, metadata=admin)
    assert untouched.state in (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING)


async def test_start_training_takes_a_map_and_shows_its_parameters(bench: Bench) -> None:
    params = ParseDict({"learning_rate": 0.01}, Struct())
    started = await bench.training.StartTraining(
        training_service_pb2.StartTrainingRequest(
            map_id=catalogue.map_id("doom", "defend_the_center"),
            max_iterations=40,
            action_combinations="turn_lr;attack",
            params=params,
        ),
        metadata=bench.user,
    )
    status = await bench.training.GetTrainingStatus(
        training_service_pb2.GetTrainingStatusRequest(run_id=started.task_id), metadata=bench.user
    )
    config = MessageToDict(status.config)
    assert config["scenario"] == "defend_the_center"
    assert (config["max_iterations"], config["learning_rate"]) == (40, 0.01)
    assert config["action_combinations"] == "turn_lr;attack"
    assert status.max_iterations == 40


async def test_a_script_reports_through_an_external_run(bench: Bench) -> None:
    run = await bench.create({"anything": [1, "two"]}, type=EXTERNAL)
    assert run.state == run_pb2.RUN_STATE_RUNNING
    log = metric_service_pb2.LogMetricsRequest(run_id=run.id, step=3, values={"loss": float("nan")})
    answer = await bench.metrics.LogMetrics(log, metadata=bench.user)
    assert answer.stored_count == 1
    again = await bench.metrics.LogMetrics(log, metadata=bench.user)
    assert (again.stored_count, again.duplicate_count) == (0, 1)
    done = await bench.verb("FinishRun", run.id, state=run_pb2.RUN_STATE_FAILED, error="no luck")
    assert (done.state, done.last_error) == (run_pb2.RUN_STATE_FAILED, "no luck")
    late = await refusal(bench.metrics.LogMetrics(log, metadata=bench.user))
    assert late.reason == "ILLEGAL_TRANSITION"


async def test_a_platform_run_takes_no_metrics_from_a_script(bench: Bench) -> None:
    run = await bench.create({})
    log = metric_service_pb2.LogMetricsRequest(run_id=run.id, step=3, values={"loss": 1})
    assert (await refusal(bench.metrics.LogMetrics(log, metadata=bench.user))).reason == (
        "NOT_EXTERNAL"
    )
    assert (await refusal(bench.verb("FinishRun", run.id))).reason == "NOT_EXTERNAL"


async def test_every_move_of_a_run_is_an_event(bench: Bench) -> None:
    run = await bench.create({}, type=EXTERNAL)
    await bench.verb("FinishRun", run.id)
    async with bench.sessions() as session:
        rows = await session.scalars(
            select(OutboxEvent)
            .where(OutboxEvent.subject == f"elodrome.executor.v1.RunStateChanged.{run.id}")
            .order_by(OutboxEvent.sequence)
        )
        changes = [events_pb2.RunStateChanged.FromString(row.payload) for row in rows]
    assert [(change.previous_state, change.state) for change in changes] == [
        (run_pb2.RUN_STATE_UNSPECIFIED, run_pb2.RUN_STATE_PENDING),
        (run_pb2.RUN_STATE_PENDING, run_pb2.RUN_STATE_RUNNING),
        (run_pb2.RUN_STATE_RUNNING, run_pb2.RUN_STATE_COMPLETED),
    ]


async def test_an_active_run_is_not_deleted(bench: Bench) -> None:
    run = await bench.create({}, type=EXTERNAL)
    # Without a registry to ask, nobody knows whether a version came from the run.
    error = await refusal(bench.verb("DeleteRun", run.id))
    assert error.code is grpc.StatusCode.UNAVAILABLE
    assert (await bench.get(run.id)).id == run.id


async def test_deleting_a_run_takes_its_metrics_unless_a_version_came_from_it(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> None:
    async with a_registry(service_environment, tokens) as registry:
        peers = {"registry": registry.running.address}
        async with running_executor(service_environment, tokens, addresses=peers) as bench:
            plain = await bench.create({}, type=EXTERNAL)
            log = metric_service_pb2.LogMetricsRequest(run_id=plain.id, values={"loss": 1})
            await bench.metrics.LogMetrics(log, metadata=bench.user)
            active = await refusal(bench.verb("DeleteRun", plain.id))
            assert (active.reason, active.metadata["current"]) == ("RUN_ACTIVE", "RUNNING")
            await bench.verb("FinishRun", plain.id)
            await bench.verb("DeleteRun", plain.id)
            assert (await refusal(bench.get(plain.id))).reason == "RUN_NOT_FOUND"
            async with bench.sessions() as session:
                assert await session.scalar(select(func.count()).select_from(MetricChunk)) == 0

            kept = await bench.create({}, type=EXTERNAL)
            await bench.verb("FinishRun", kept.id)
            checkpoint = await registry.a_checkpoint(run_id=kept.id)
            await registry.a_version(await registry.a_model(), checkpoint=checkpoint)
            referenced = await refusal(bench.verb("DeleteRun", kept.id))
            assert referenced.reason == "RUN_REFERENCED"
            assert (await bench.get(kept.id)).id == kept.id


async def test_the_schema_says_what_a_config_may_hold(bench: Bench) -> None:
    answer = await bench.runs.GetConfigSchema(
        run_service_pb2.GetConfigSchemaRequest(), metadata=bench.user
    )
    assert answer.schema["properties"]["gamma"]["maximum"] == 1
