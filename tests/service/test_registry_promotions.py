"""Promotion and rollback: one stable version at every instant, and a history nobody rewrites."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from elodrome.evaluator.v1 import events_pb2 as evaluator_events
from elodrome.registry.v1 import events_pb2, model_pb2, model_service_pb2, version_service_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from games import catalogue
from services.registry.consumers import on_gate_decided
from tests.service.registry_service import Registry, refused

Promotions = list[model_pb2.Promotion]


async def history(registry: Registry, model_id: str) -> Promotions:
    answer = await registry.models.ListPromotions(
        model_service_pb2.ListPromotionsRequest(model_id=model_id, page_size=200),
        metadata=registry.user,
    )
    return list(answer.items)


async def stable(registry: Registry, model_id: str, as_of: Timestamp | None = None) -> str:
    answer = await registry.versions.GetStableVersion(
        version_service_pb2.GetStableVersionRequest(model_id=model_id, as_of=as_of),
        metadata=registry.user,
    )
    return answer.id


async def test_a_promotion_replaces_the_stable_version(registry: Registry) -> None:
    model = await registry.a_model()
    first, second = await registry.a_version(model), await registry.a_version(model)
    await registry.promote(first)
    decision = registry.a_decision(second)
    promotion = await registry.promote(second, decision_id=decision.id)
    now = await registry.model(model.id)
    assert now.stable_version.id == second.id
    former = await registry.resolve(f"{model.name}@1")
    assert former.tag == "archived"
    assert promotion.kind == model_pb2.PROMOTION_KIND_GATE
    assert (promotion.decision_id, promotion.previous_version_id) == (decision.id, first.id)
    assert promotion.actor_id == registry.user_id
    told = await registry.events(events_pb2.ModelPromoted)
    assert [event.version_id for event in told] == [first.id, second.id]
    assert told[1].previous_version_id == first.id


async def test_without_a_passing_decision_nothing_is_promoted(registry: Registry) -> None:
    model = await registry.a_model()
    version = await registry.a_version(model)
    other = str(uuid.uuid4())
    for decision_id in (
        "",
        str(uuid.uuid4()),
        registry.a_decision(version, passed=False).id,
        registry.a_decision(version, model_id=other).id,
        registry.a_decision(version, checkpoint_id=other).id,
    ):
        async with refused("GATE_NOT_PASSED", "FAILED_PRECONDITION") as refusal:
            await registry.promote(version, decision_id=decision_id)
        assert refusal[0].metadata["http_status"] == "412"
    assert not (await registry.model(model.id)).HasField("stable_version")
    assert await history(registry, model.id) == []


async def test_an_event_is_evidence_without_asking_the_evaluator(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    event = evaluator_events.GateDecided(
        decision_id=str(uuid.uuid4()),
        model_id=version.model_id,
        checkpoint_id=version.checkpoint_id,
        passed=True,
    )
    event.decide_time.GetCurrentTime()
    for _ in range(2):
        async with registry.running.context.sessions.begin() as session:
            await on_gate_decided(session, event)
    promotion = await registry.promote(version, reason="newest decision")
    assert promotion.decision_id == event.decision_id


async def test_the_newest_decision_counts_when_none_is_named(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    for seconds, passed in ((10, True), (20, False)):
        event = evaluator_events.GateDecided(
            decision_id=str(uuid.uuid4()),
            model_id=version.model_id,
            checkpoint_id=version.checkpoint_id,
            passed=passed,
            decide_time=Timestamp(seconds=seconds),
        )
        async with registry.running.context.sessions.begin() as session:
            await on_gate_decided(session, event)
    async with refused("GATE_NOT_PASSED"):
        await registry.promote(version, reason="the last one failed")


async def test_an_admin_overrides_with_a_reason_only(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    request = version_service_pb2.PromoteVersionRequest(id=version.id, override=True)
    async with refused("INVALID_FIELD"):
        await registry.versions.PromoteVersion(request, metadata=registry.tokens.admin())
    request.reason = "demo at the fair"
    async with refused("OVERRIDE_NEEDS_ADMIN", "PERMISSION_DENIED"):
        await registry.versions.PromoteVersion(request, metadata=registry.user)
    promotion = await registry.versions.PromoteVersion(request, metadata=registry.tokens.admin())
    assert promotion.kind == model_pb2.PROMOTION_KIND_OVERRIDE
    assert promotion.reason == "demo at the fair"
    assert promotion.actor_id


async def test_a_worker_may_not_promote(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await registry.versions.PromoteVersion(
            version_service_pb2.PromoteVersionRequest(id=version.id),
            metadata=registry.worker(version.run_id),
        )
    assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_model_promotes_its_newest_candidate(registry: Registry) -> None:
    model = await registry.a_model()
    await registry.a_version(model)
    newest = await registry.a_version(model)
    request = version_service_pb2.PromoteVersionRequest(
        model_id=model.id, decision_id=registry.a_decision(newest).id
    )
    promotion = await registry.versions.PromoteVersion(request, metadata=registry.user)
    assert promotion.version_id == newest.id


async def test_the_stable_version_is_not_promoted_or_retagged(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    await registry.promote(version)
    async with refused("ALREADY_STABLE"):
        await registry.promote(version)
    async with refused("VERSION_IS_STABLE"):
        await registry.versions.UpdateVersion(
            version_service_pb2.UpdateVersionRequest(id=version.id, tag="archived"),
            metadata=registry.user,
        )


async def test_the_history_answers_for_any_instant(registry: Registry) -> None:
    model = await registry.a_model()
    versions = [await registry.a_version(model) for _ in range(3)]
    async with refused("NO_STABLE_VERSION"):
        await stable(registry, model.id)
    promotions = [await registry.promote(version) for version in versions]
    before = Timestamp()
    before.FromMicroseconds(promotions[0].create_time.ToMicroseconds() - 1)
    async with refused("NO_STABLE_VERSION", "NOT_FOUND"):
        await stable(registry, model.id, before)
    for promotion, version in zip(promotions, versions, strict=True):
        assert await stable(registry, model.id, promotion.create_time) == version.id
    between = Timestamp()
    between.FromMicroseconds(promotions[2].create_time.ToMicroseconds() - 1)
    assert await stable(registry, model.id, between) == versions[1].id
    assert await stable(registry, model.id) == versions[2].id


async def test_rollbacks_go_back_step_by_step(registry: Registry) -> None:
    model = await registry.a_model()
    versions = [await registry.a_version(model) for _ in range(3)]
    for version in versions:
        await registry.promote(version)
    request = model_service_pb2.RollbackModelRequest(id=model.id, reason="it drifts")
    for version in (versions[1], versions[0]):
        promotion = await registry.models.RollbackModel(request, metadata=registry.user)
        assert promotion.kind == model_pb2.PROMOTION_KIND_ROLLBACK
        assert await stable(registry, model.id) == version.id
    async with refused("NO_PREVIOUS_STABLE", "FAILED_PRECONDITION"):
        await registry.models.RollbackModel(request, metadata=registry.user)
    assert [line.version_number for line in await history(registry, model.id)] == [1, 2, 3, 2, 1]


async def test_the_history_cannot_be_rewritten(registry: Registry) -> None:
    await registry.promote(await registry.a_version(await registry.a_model()))
    for statement in ("UPDATE promotions SET reason = 'x'", "DELETE FROM promotions"):
        async with registry.running.context.sessions() as session:
            with pytest.raises(DBAPIError, match="only grows"):
                await session.execute(text(statement))


async def test_the_table_allows_one_stable_version_a_model(registry: Registry) -> None:
    model = await registry.a_model()
    await registry.a_version(model)
    await registry.a_version(model)
    async with registry.running.context.sessions() as session:
        with pytest.raises(DBAPIError, match="uq_versions_stable_of_model"):
            await session.execute(text("UPDATE versions SET tag = 'stable'"))


async def test_fifty_racing_promotions_leave_one_stable_version(registry: Registry) -> None:
    model, checkpoint = await registry.a_model(), await registry.a_checkpoint()
    versions = [await registry.a_version(model, checkpoint=checkpoint) for _ in range(50)]
    decision = registry.a_decision(versions[0])
    results = await asyncio.gather(
        *[registry.promote(version, decision_id=decision.id) for version in versions],
        return_exceptions=True,
    )
    won = [result for result in results if isinstance(result, model_pb2.Promotion)]
    lost = [result for result in results if not isinstance(result, model_pb2.Promotion)]
    assert won
    assert {type(loss) for loss in lost} <= {grpc.aio.AioRpcError}
    assert {loss.code() for loss in lost} <= {grpc.StatusCode.ABORTED}
    lines = await history(registry, model.id)
    assert {line.id for line in lines} == {promotion.id for promotion in won}
    # Each line begins where the one before it ended, so exactly one was stable at every instant.
    assert [line.previous_version_id for line in lines] == [
        *[line.version_id for line in lines[1:]],
        "",
    ]
    assert await stable(registry, model.id) == lines[0].version_id


async def test_of_fifty_who_expect_the_same_stable_version_one_wins(registry: Registry) -> None:
    model, checkpoint = await registry.a_model(), await registry.a_checkpoint()
    versions = [await registry.a_version(model, checkpoint=checkpoint) for _ in range(51)]
    decision = registry.a_decision(versions[0])
    await registry.promote(versions[0], decision_id=decision.id)
    results = await asyncio.gather(
        *[
            registry.promote(
                version, decision_id=decision.id, expected_stable_version_id=versions[0].id
            )
            for version in versions[1:]
        ],
        return_exceptions=True,
    )
    lost = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(lost) == 49
    assert {loss.code() for loss in lost} == {grpc.StatusCode.ABORTED}
    assert len(await history(registry, model.id)) == 2


async def test_the_lineage_of_a_stable_version_is_whole(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint(code_commit="c0ffee", iteration=9)
    model = await registry.a_model()
    version = await registry.a_version(model, checkpoint=checkpoint)
    decision = registry.a_decision(version)
    promotion = await registry.promote(version, decision_id=decision.id)
    lineage = await registry.versions.GetLineage(
        version_service_pb2.GetLineageRequest(id=version.id), metadata=registry.user
    )
    assert lineage.checkpoint.id == checkpoint.id
    assert lineage.run_id == checkpoint.run_id
    assert lineage.config["learning_rate"] == 5e-4
    assert lineage.code_commit == "c0ffee"
    assert lineage.map_id == catalogue.map_id("doom", "basic")
    assert [entry.decision_id for entry in lineage.decisions] == [decision.id]
    assert [line.id for line in lineage.promotions] == [promotion.id]
    assert lineage.model.stable_version.id == version.id
