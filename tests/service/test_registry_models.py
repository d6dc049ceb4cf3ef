"""Models, versions, aliases and promotion, through gRPC against a real database."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from elodrome.evaluator.v1 import events_pb2 as evaluator_events
from elodrome.registry.v1 import (
    events_pb2,
    game_service_pb2,
    model_pb2,
    model_service_pb2,
    version_service_pb2,
)
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from games import catalogue
from kit import outbox
from services.registry.consumers import on_gate_decided
from services.registry.models.catalogue import seed
from tests.service.registry_service import Registry, a_file, a_registry, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Tokens

Promotions = list[model_pb2.Promotion]


@pytest.fixture
async def registry(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens
) -> AsyncIterator[Registry]:
    async with a_registry(service_environment, tokens, custom_tags=("tournament",)) as running:
        yield running


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


async def resolve(registry: Registry, reference: str) -> model_pb2.Version:
    return await registry.versions.ResolveVersion(
        version_service_pb2.ResolveVersionRequest(reference=reference), metadata=registry.user
    )


async def events(registry: Registry, kind: Any) -> list[Any]:
    prefix = f"{kind.DESCRIPTOR.full_name}."
    query = text("SELECT subject, payload FROM outbox ORDER BY sequence")
    async with registry.running.context.sessions() as session:
        rows = (await session.execute(query)).all()
    return [kind.FromString(payload) for subject, payload in rows if subject.startswith(prefix)]


# -- the catalogue


async def test_the_catalogue_lists_every_game_and_map(registry: Registry) -> None:
    games = await registry.games.ListGames(
        game_service_pb2.ListGamesRequest(), metadata=registry.user
    )
    assert [(game.name, game.map_count) for game in games.items] == [("doom", 12)]
    game = await registry.games.GetGame(
        game_service_pb2.GetGameRequest(id=catalogue.game_id("doom")), metadata=registry.user
    )
    assert game.config_defaults["frame_skip"] == 4
    assert {entry.name for entry in game.maps} == {row.name for row in catalogue.GAMES[0].maps}


async def test_a_map_can_be_found_by_its_name(registry: Registry) -> None:
    maps = await registry.games.ListMaps(
        game_service_pb2.ListMapsRequest(game_id=catalogue.game_id("doom"), name="basic"),
        metadata=registry.user,
    )
    assert [entry.id for entry in maps.items] == [catalogue.map_id("doom", "basic")]
    one = await registry.games.GetMap(
        game_service_pb2.GetMapRequest(id=maps.items[0].id), metadata=registry.user
    )
    assert one.action_combinations == "move_lr;attack"
    assert one == maps.items[0]


async def test_seeding_again_changes_only_what_differs(registry: Registry) -> None:
    sessions = registry.running.context.sessions
    async with sessions.begin() as session:
        await session.execute(text("UPDATE maps SET title = 'old' WHERE name = 'basic'"))
        before = dict((await session.execute(text("SELECT name, update_time FROM maps"))).all())
    async with sessions.begin() as session:
        await seed(session)
    async with sessions() as session:
        after = dict((await session.execute(text("SELECT name, update_time FROM maps"))).all())
        assert await session.scalar(text("SELECT title FROM maps WHERE name = 'basic'")) != "old"
    assert [name for name in after if after[name] != before[name]] == ["basic"]


# -- models


async def test_three_models_are_listed_with_their_newest_versions(registry: Registry) -> None:
    for name in ("a", "b", "c"):
        await registry.a_version(await registry.a_model(name))
    answer = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(page_size=2), metadata=registry.user
    )
    rest = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(page_size=2, page_token=answer.next_page_token),
        metadata=registry.user,
    )
    items = [*answer.items, *rest.items]
    assert [(model.name, model.tag) for model in items] == [
        (name, "candidate") for name in ("c", "b", "a")
    ]
    assert all(model.newest_version.number == 1 for model in items)
    assert answer.total == 3


async def test_a_taken_name_is_refused_whatever_its_case(registry: Registry) -> None:
    first = await registry.a_model("Champion", description="the first")
    async with refused("MODEL_EXISTS", "ALREADY_EXISTS"):
        await registry.a_model("champion")
    assert (await registry.model(first.id)).description == "the first"


async def test_a_malformed_name_is_refused(registry: Registry) -> None:
    for name in ("", "a" * 64, "../x", "a/b", "a@b", "-a", "a\x00b", "a b", "%2e%2e", "ä"):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT") as refusal:
            await registry.models.CreateModel(
                model_service_pb2.CreateModelRequest(name=name), metadata=registry.user
            )
        assert refusal[0].field == "name"


async def test_parallel_repeats_of_a_request_create_one_model(registry: Registry) -> None:
    request_id = str(uuid.uuid4())
    answers = await asyncio.gather(
        *[registry.a_model("twin", request_id=request_id) for _ in range(10)]
    )
    assert len({model.id for model in answers}) == 1


async def test_a_map_decides_the_game_of_a_model(registry: Registry) -> None:
    model = await registry.a_model(map_id=catalogue.map_id("doom", "basic"))
    assert model.game_id == catalogue.game_id("doom")
    async with refused("MAP_NOT_FOUND"):
        await registry.a_model(map_id=str(uuid.uuid4()))


async def test_somebody_elses_private_model_does_not_exist(registry: Registry) -> None:
    model = await registry.a_model(private=True)
    stranger = registry.tokens.user()
    async with refused("MODEL_NOT_FOUND", "NOT_FOUND"):
        await registry.models.GetModel(
            model_service_pb2.GetModelRequest(id=model.id), metadata=stranger
        )
    listed = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(), metadata=stranger
    )
    assert listed.total == 0
    assert (await registry.model(model.id)).private


async def test_somebody_elses_public_model_is_read_only(registry: Registry) -> None:
    model = await registry.a_model()
    stranger = registry.tokens.user()
    await registry.models.GetModel(
        model_service_pb2.GetModelRequest(id=model.id), metadata=stranger
    )
    async with refused("NOT_YOUR_MODEL", "PERMISSION_DENIED"):
        await registry.models.DeleteModel(
            model_service_pb2.DeleteModelRequest(id=model.id), metadata=stranger
        )


async def test_a_viewer_and_a_worker_may_not_create(registry: Registry) -> None:
    request = model_service_pb2.CreateModelRequest(name="x")
    for caller in (registry.tokens.user(roles=("VIEWER",)), registry.worker(str(uuid.uuid4()))):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await registry.models.CreateModel(request, metadata=caller)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await registry.models.CreateModel(request)
    assert refusal.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_update_changes_what_it_names(registry: Registry) -> None:
    model = await registry.a_model("before", description="kept", styles=["calm"])
    changed = await registry.models.UpdateModel(
        model_service_pb2.UpdateModelRequest(
            id=model.id, name="after", styles=model_service_pb2.StyleList(values=["wild", "wild"])
        ),
        metadata=registry.user,
    )
    assert (changed.name, changed.description, changed.styles) == ("after", "kept", ["wild"])
    await registry.a_model("before")
    async with refused("MODEL_EXISTS"):
        await registry.models.UpdateModel(
            model_service_pb2.UpdateModelRequest(id=model.id, name="Before"),
            metadata=registry.user,
        )


async def test_a_deleted_model_comes_back_as_it_was(registry: Registry) -> None:
    model = await registry.a_model("phoenix")
    version = await registry.a_version(model)
    before = await registry.model(model.id)
    await registry.models.DeleteModel(
        model_service_pb2.DeleteModelRequest(id=model.id), metadata=registry.user
    )
    async with refused("MODEL_NOT_FOUND"):
        await registry.model(model.id)
    async with refused("VERSION_NOT_FOUND"):
        await resolve(registry, "phoenix@1")
    listed = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(deleted=True), metadata=registry.user
    )
    assert [item.id for item in listed.items] == [model.id]
    await registry.models.RestoreModel(
        model_service_pb2.RestoreModelRequest(id=model.id), metadata=registry.user
    )
    after = await registry.model(model.id)
    after.update_time.CopyFrom(before.update_time)
    assert after == before
    assert (await resolve(registry, "phoenix@1")).id == version.id


async def test_a_name_taken_meanwhile_stops_a_restore(registry: Registry) -> None:
    model = await registry.a_model("name")
    await registry.models.DeleteModel(
        model_service_pb2.DeleteModelRequest(id=model.id), metadata=registry.user
    )
    await registry.a_model("name")
    async with refused("MODEL_EXISTS"):
        await registry.models.RestoreModel(
            model_service_pb2.RestoreModelRequest(id=model.id), metadata=registry.user
        )


async def test_a_model_with_a_stable_version_is_deleted_by_force_only(registry: Registry) -> None:
    model = await registry.a_model()
    await registry.promote(await registry.a_version(model))
    async with refused("MODEL_IN_USE", "FAILED_PRECONDITION"):
        await registry.models.DeleteModel(
            model_service_pb2.DeleteModelRequest(id=model.id), metadata=registry.user
        )
    deleted = await registry.models.DeleteModel(
        model_service_pb2.DeleteModelRequest(id=model.id, force=True), metadata=registry.user
    )
    assert deleted.HasField("delete_time")


async def test_a_purge_frees_files_and_keeps_the_history(registry: Registry) -> None:
    model, other = await registry.a_model(), await registry.a_model()
    mine, shared = await registry.a_checkpoint(weights=5000), await registry.a_checkpoint()
    await registry.promote(await registry.a_version(model, checkpoint=mine))
    await registry.a_version(model, checkpoint=shared)
    await registry.a_version(other, checkpoint=shared)
    request = model_service_pb2.PurgeModelRequest(id=model.id)
    async with refused("MODEL_NOT_DELETED"):
        await registry.models.PurgeModel(request, metadata=registry.user)
    await registry.models.DeleteModel(
        model_service_pb2.DeleteModelRequest(id=model.id, force=True), metadata=registry.user
    )
    gone = await registry.models.PurgeModel(request, metadata=registry.user)
    assert (gone.version_count, gone.freed_bytes) == (2, mine.artifact.size_bytes)
    async with refused("CHECKPOINT_NOT_FOUND"):
        await registry.checkpoint(mine.id)
    await registry.checkpoint(shared.id)
    async with registry.running.context.sessions() as session:
        kept = await session.scalar(text("SELECT count(*) FROM promotions"))
    assert kept == 1


# -- versions and aliases


async def test_fifty_parallel_versions_are_numbered_without_gaps(registry: Registry) -> None:
    model, checkpoint = await registry.a_model(), await registry.a_checkpoint()
    versions = await asyncio.gather(
        *[registry.a_version(model, checkpoint=checkpoint) for _ in range(50)]
    )
    assert sorted(version.number for version in versions) == list(range(1, 51))
    assert (await registry.model(model.id)).version_count == 50


async def test_parallel_repeats_of_a_request_create_one_version(registry: Registry) -> None:
    model, checkpoint = await registry.a_model(), await registry.a_checkpoint()
    request_id = str(uuid.uuid4())
    versions = await asyncio.gather(
        *[
            registry.a_version(model, checkpoint=checkpoint, request_id=request_id)
            for _ in range(10)
        ]
    )
    assert {version.number for version in versions} == {1}
    assert len(await events(registry, events_pb2.VersionCreated)) == 1


async def test_a_version_carries_its_checkpoints_facts(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint(metrics={"reward": 71.5, "loss": float("nan")})
    version = await registry.a_version(await registry.a_model("facts"), checkpoint=checkpoint)
    read = await registry.versions.GetVersion(
        version_service_pb2.GetVersionRequest(id=version.id), metadata=registry.user
    )
    assert read.artifact.sha256 == checkpoint.artifact.sha256
    assert read.signature.observation_shape == [4, 36, 64]
    assert read.metrics["reward"] == 71.5
    assert read.metrics["loss"] != read.metrics["loss"]
    assert (read.model_name, read.run_id) == ("facts", checkpoint.run_id)


async def test_only_a_committed_checkpoint_is_published(registry: Registry) -> None:
    model = await registry.a_model()
    pending = await registry.upload(a_file())
    async with refused("CHECKPOINT_NOT_COMMITTED"):
        await registry.a_version(model, checkpoint=pending)
    assert (await registry.model(model.id)).version_count == 0


async def test_a_checkpoint_for_another_map_is_not_published(registry: Registry) -> None:
    model = await registry.a_model(map_id=catalogue.map_id("doom", "deadly_corridor"))
    async with refused("SIGNATURE_MISMATCH") as refusal:
        await registry.a_version(model)
    assert "deadly_corridor" in refusal[0].message
    assert "basic" in refusal[0].message


async def test_somebody_elses_checkpoint_is_not_published(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    theirs = registry.worker(run_id, user_id=str(uuid.uuid4()))
    checkpoint = await registry.upload(a_file(), run_id=run_id, caller=theirs)
    await registry.commit(checkpoint, caller=theirs)
    async with refused("CHECKPOINT_NOT_FOUND", "NOT_FOUND"):
        await registry.a_version(await registry.a_model(), checkpoint=checkpoint)


async def test_an_alias_moves_and_resolves(registry: Registry) -> None:
    model = await registry.a_model("arena")
    first, second = await registry.a_version(model), await registry.a_version(model)
    for version in (first, second):
        await registry.models.SetAlias(
            model_service_pb2.SetAliasRequest(
                model_id=model.id, name="champion", version_id=version.id
            ),
            metadata=registry.user,
        )
        assert (await resolve(registry, "arena@champion")).id == version.id
    assert (await registry.model(model.id)).aliases[0].version_number == 2
    await registry.models.DeleteAlias(
        model_service_pb2.DeleteAliasRequest(model_id=model.id, name="champion"),
        metadata=registry.user,
    )
    async with refused("VERSION_NOT_FOUND"):
        await resolve(registry, "arena@champion")


async def test_a_reserved_or_malformed_alias_is_refused(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    for name in ("stable", "latest", "3", "Upper", "a/b", "", "x" * 64):
        reason = "RESERVED_ALIAS" if name in {"stable", "latest"} else "INVALID_FIELD"
        async with refused(reason, "INVALID_ARGUMENT"):
            await registry.models.SetAlias(
                model_service_pb2.SetAliasRequest(
                    model_id=version.model_id, name=name, version_id=version.id
                ),
                metadata=registry.user,
            )


async def test_an_alias_stays_within_its_model(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())
    other = await registry.a_model()
    async with refused("VERSION_NOT_FOUND"):
        await registry.models.SetAlias(
            model_service_pb2.SetAliasRequest(
                model_id=other.id, name="champion", version_id=version.id
            ),
            metadata=registry.user,
        )


async def test_references_resolve_by_number_and_by_age(registry: Registry) -> None:
    model = await registry.a_model("Line")
    first, second = await registry.a_version(model), await registry.a_version(model)
    await registry.promote(first)
    for reference, version in (
        ("Line@1", first),
        ("line@latest", second),
        ("line@stable", first),
    ):
        assert (await resolve(registry, reference)).id == version.id
    for reference in ("line@3", "line@99999999999999999999", "line@nobody", "other@1"):
        async with refused("VERSION_NOT_FOUND"):
            await resolve(registry, reference)
    for reference in ("line", "@1", "line@", "", "\x00@1"):
        async with refused("INVALID_FIELD"):
            await resolve(registry, reference)


async def test_tags_come_from_the_vocabulary(registry: Registry) -> None:
    version = await registry.a_version(await registry.a_model())

    async def tag(word: str) -> model_pb2.Version:
        return await registry.versions.UpdateVersion(
            version_service_pb2.UpdateVersionRequest(id=version.id, tag=word),
            metadata=registry.user,
        )

    for word in ("experimental", "tournament", "archived"):
        assert (await tag(word)).tag == word
    for word in ("golden", "stable", ""):
        async with refused("UNKNOWN_TAG", "INVALID_ARGUMENT"):
            await tag(word)


async def test_a_models_tag_is_its_newest_versions(registry: Registry) -> None:
    model = await registry.a_model()
    request = model_service_pb2.UpdateModelRequest(id=model.id, tag="experimental")
    async with refused("NO_VERSION"):
        await registry.models.UpdateModel(request, metadata=registry.user)
    await registry.a_version(model)
    changed = await registry.models.UpdateModel(request, metadata=registry.user)
    assert (changed.tag, changed.newest_version.tag) == ("experimental", "experimental")
    listed = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(tag="experimental"), metadata=registry.user
    )
    assert [item.id for item in listed.items] == [model.id]


async def test_a_referenced_version_is_not_deleted(registry: Registry) -> None:
    model = await registry.a_model()
    old, new = await registry.a_version(model), await registry.a_version(model)
    free = await registry.a_version(model)
    await registry.promote(old)
    await registry.promote(new)
    await registry.models.SetAlias(
        model_service_pb2.SetAliasRequest(model_id=model.id, name="canary", version_id=new.id),
        metadata=registry.user,
    )

    async def delete(version: model_pb2.Version) -> None:
        await registry.versions.DeleteVersion(
            version_service_pb2.DeleteVersionRequest(id=version.id), metadata=registry.user
        )

    async with refused("VERSION_IN_USE", "FAILED_PRECONDITION") as refusal:
        await delete(new)
    assert "stable" in refusal[0].message
    assert "canary" in refusal[0].message
    async with refused("VERSION_IN_USE") as refusal:
        await delete(old)
    assert "promotion history" in refusal[0].message
    await delete(free)
    assert (await registry.a_version(model)).number == 4


# -- promotion


async def test_a_promotion_replaces_the_stable_version(registry: Registry) -> None:
    model = await registry.a_model()
    first, second = await registry.a_version(model), await registry.a_version(model)
    await registry.promote(first)
    decision = registry.a_decision(second)
    promotion = await registry.promote(second, decision_id=decision.id)
    now = await registry.model(model.id)
    assert now.stable_version.id == second.id
    former = await resolve(registry, f"{model.name}@1")
    assert former.tag == "archived"
    assert promotion.kind == model_pb2.PROMOTION_KIND_GATE
    assert (promotion.decision_id, promotion.previous_version_id) == (decision.id, first.id)
    assert promotion.actor_id == registry.user_id
    told = await events(registry, events_pb2.ModelPromoted)
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


async def test_a_page_token_of_another_list_is_refused(registry: Registry) -> None:
    for _ in range(2):
        await registry.a_model()
    page = await registry.models.ListModels(
        model_service_pb2.ListModelsRequest(page_size=1), metadata=registry.user
    )
    for token in (page.next_page_token, "x", "../../etc/passwd"):
        async with refused("INVALID_PAGE_TOKEN"):
            await registry.models.ListModels(
                model_service_pb2.ListModelsRequest(page_token=token, owner_id=registry.user_id),
                metadata=registry.user,
            )
    for size in (-1, 201, 10**9):
        async with refused("INVALID_FIELD"):
            await registry.models.ListModels(
                model_service_pb2.ListModelsRequest(page_size=size), metadata=registry.user
            )


async def test_a_malformed_id_is_refused(registry: Registry) -> None:
    for malformed in ("..%2f..%2fetc", "../x", "\x00", "x" * 5000, "", "1;DROP TABLE"):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT"):
            await registry.model(malformed)


def test_every_outgoing_event_fits_the_outbox() -> None:
    event = events_pb2.CheckpointSaved(
        metrics={f"{number:0128d}": 1.0 for number in range(200)},
    )
    assert event.ByteSize() < outbox.MAX_PAYLOAD_BYTES / 4
