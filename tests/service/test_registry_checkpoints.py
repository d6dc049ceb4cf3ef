"""Checkpoints once they are committed: metrics, the best one, loading and deleting."""

from __future__ import annotations

import asyncio
import uuid

from elodrome.registry.v1 import checkpoint_pb2, version_service_pb2
from elodrome.registry.v1 import checkpoint_service_pb2 as pb

from tests.service.registry_files import assert_nothing_stored, files_of, path_of
from tests.service.registry_service import Registry, a_file, digest_of, refused


async def test_metrics_have_names_that_people_can_read(registry: Registry) -> None:
    pending = await registry.upload(a_file())
    for metrics in (
        {"": 1.0},
        {"a\x00b": 1.0},
        {"x" * 129: 1.0},
        dict.fromkeys(map(str, range(201)), 1.0),
    ):
        async with refused("INVALID_FIELD", "INVALID_ARGUMENT") as refusal:
            await registry.commit(pending, metrics=metrics)
        assert refusal[0].field == "metrics"


async def test_the_star_moves_upward_only(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    best = []
    for iteration, reward in enumerate((1.0, 3.0, 2.0, float("nan"), 4.0)):
        pending = await registry.upload(a_file(iteration=iteration), run_id=run_id)
        await registry.commit(pending, metrics={"reward": reward}, best_metric="reward")
        (starred,) = await registry.listed(run_id=run_id, best_only=True)
        best.append(starred.metrics["reward"])
    assert best == [1.0, 3.0, 3.0, 3.0, 4.0]


async def test_a_smaller_loss_can_be_better(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    for iteration, loss in enumerate((2.0, 1.0, 3.0)):
        pending = await registry.upload(a_file(iteration=iteration), run_id=run_id)
        await registry.commit(
            pending, metrics={"loss": loss}, best_metric="loss", lower_is_better=True
        )
    (starred,) = await registry.listed(run_id=run_id, best_only=True)
    assert starred.metrics["loss"] == 1.0
    pending = await registry.upload(a_file(iteration=9), run_id=run_id)
    async with refused("INVALID_FIELD"):
        await registry.commit(pending, metrics={"loss": 1.0}, best_metric="reward")


async def test_racing_commits_leave_one_star(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    pending = [
        await registry.upload(a_file(iteration=iteration), run_id=run_id) for iteration in range(10)
    ]
    await asyncio.gather(
        *[
            registry.commit(
                checkpoint, metrics={"reward": checkpoint.iteration}, best_metric="reward"
            )
            for checkpoint in pending
        ]
    )
    (starred,) = await registry.listed(run_id=run_id, best_only=True)
    assert starred.iteration == 9


async def test_a_person_moves_the_star(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    first, second = [await registry.a_checkpoint(run_id=run_id, iteration=n) for n in (1, 2)]
    for checkpoint in (second, first):
        starred = await registry.checkpoints.MarkBestCheckpoint(
            pb.MarkBestCheckpointRequest(id=checkpoint.id), metadata=registry.user
        )
        assert starred.is_best
        assert [item.id for item in await registry.listed(best_only=True)] == [checkpoint.id]
    pending = await registry.upload(a_file(), run_id=run_id)
    async with refused("CHECKPOINT_NOT_COMMITTED"):
        await registry.checkpoints.MarkBestCheckpoint(
            pb.MarkBestCheckpointRequest(id=pending.id), metadata=registry.user
        )


async def test_a_load_is_counted_and_checks_the_signature(registry: Registry) -> None:
    checkpoint = await registry.a_checkpoint()
    fitting = checkpoint_pb2.Signature(observation_shape=[4, 36, 64], algorithm="DQN")
    for loads in (1, 2):
        loaded = await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(id=checkpoint.id, expected=fitting), metadata=registry.user
        )
        assert loaded.load_count == loads
        assert loaded.checkpoint.id == checkpoint.id
    assert loaded.download_path == f"/api/v1/checkpoints/{checkpoint.id}/download"
    async with refused("SIGNATURE_MISMATCH", "FAILED_PRECONDITION") as refusal:
        await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(
                id=checkpoint.id,
                expected=checkpoint_pb2.Signature(observation_shape=[3, 36, 64]),
            ),
            metadata=registry.user,
        )
    assert "4x36x64" in refusal[0].message
    pending = await registry.upload(a_file())
    async with refused("CHECKPOINT_NOT_COMMITTED"):
        await registry.checkpoints.LoadCheckpoint(
            pb.LoadCheckpointRequest(id=pending.id), metadata=registry.user
        )


async def test_a_published_checkpoint_is_not_deleted(registry: Registry) -> None:
    content = a_file()
    checkpoint = await registry.commit(await registry.upload(content))
    twin = await registry.upload(content)
    version = await registry.a_version(await registry.a_model("keeper"), checkpoint=checkpoint)
    request = pb.DeleteCheckpointRequest(id=checkpoint.id)
    async with refused("CHECKPOINT_IN_USE", "FAILED_PRECONDITION") as refusal:
        await registry.checkpoints.DeleteCheckpoint(request, metadata=registry.user)
    assert refusal[0].metadata["references"] == "keeper@1"
    await registry.versions.DeleteVersion(
        version_service_pb2.DeleteVersionRequest(id=version.id), metadata=registry.user
    )
    await registry.checkpoints.DeleteCheckpoint(request, metadata=registry.user)
    assert len(files_of(registry)) == 1
    await registry.checkpoints.DeleteCheckpoint(
        pb.DeleteCheckpointRequest(id=twin.id), metadata=registry.user
    )
    await assert_nothing_stored(registry)


async def test_deleting_and_uploading_the_same_file_never_loses_it(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file()
    checkpoint = await registry.upload(content, run_id=run_id)
    for _ in range(25):
        await asyncio.gather(
            registry.checkpoints.DeleteCheckpoint(
                pb.DeleteCheckpointRequest(id=checkpoint.id), metadata=registry.user
            ),
            registry.upload(content, run_id=run_id),
        )
        checkpoint = await registry.upload(content, run_id=run_id)
        assert path_of(registry, digest_of(content)).read_bytes() == content
