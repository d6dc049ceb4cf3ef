"""Versions, aliases and tags, through gRPC against a real database."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from elodrome.registry.v1 import events_pb2, model_pb2, model_service_pb2, version_service_pb2

from games import catalogue
from tests.service.registry_service import Registry, a_file, refused


@pytest.fixture
def registry_settings() -> dict[str, Any]:
    return {"custom_tags": ("tournament",)}


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
    assert len(await registry.events(events_pb2.VersionCreated)) == 1


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
        assert (await registry.resolve("arena@champion")).id == version.id
    assert (await registry.model(model.id)).aliases[0].version_number == 2
    await registry.models.DeleteAlias(
        model_service_pb2.DeleteAliasRequest(model_id=model.id, name="champion"),
        metadata=registry.user,
    )
    async with refused("VERSION_NOT_FOUND"):
        await registry.resolve("arena@champion")


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
        assert (await registry.resolve(reference)).id == version.id
    for reference in ("line@3", "line@99999999999999999999", "line@nobody", "other@1"):
        async with refused("VERSION_NOT_FOUND"):
            await registry.resolve(reference)
    for reference in ("line", "@1", "line@", "", "\x00@1"):
        async with refused("INVALID_FIELD"):
            await registry.resolve(reference)


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
