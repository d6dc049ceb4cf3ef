"""Models through gRPC against a real database: their names, owners, lists and removal."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from elodrome.registry.v1 import model_service_pb2
from sqlalchemy import text

from games import catalogue
from tests.service.registry_service import Registry, refused


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
        await registry.resolve("phoenix@1")
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
    assert (await registry.resolve("phoenix@1")).id == version.id


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
