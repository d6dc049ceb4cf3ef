"""Who may write for a run: its newest lease, or its owner when it never had a worker."""

from __future__ import annotations

import uuid

from elodrome.registry.v1 import checkpoint_pb2
from elodrome.registry.v1 import checkpoint_service_pb2 as pb

from tests.service.registry_files import (
    assert_nothing_stored,
    files_of,
    flip_a_byte,
    impatient,
    path_of,
)
from tests.service.registry_service import (
    Registry,
    a_file,
    digest_of,
    messages,
    refused,
)
from tests.waiting import eventually


async def claim(registry: Registry, run_id: str, epoch: int) -> pb.ClaimRunResponse:
    return await registry.checkpoints.ClaimRun(
        pb.ClaimRunRequest(run_id=run_id), metadata=registry.worker(run_id, epoch=epoch)
    )


async def test_a_newer_lease_shuts_the_older_out(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    old, new = registry.worker(run_id, epoch=1), registry.worker(run_id, epoch=2)
    pending = await registry.upload(a_file(), run_id=run_id, caller=old)
    assert (await claim(registry, run_id, 2)).epoch == 2
    async with refused("STALE_EPOCH", "FAILED_PRECONDITION"):
        await claim(registry, run_id, 1)
    async with refused("STALE_EPOCH"):
        await registry.upload(a_file(), run_id=run_id, caller=old)
    async with refused("STALE_EPOCH"):
        await registry.commit(pending, caller=old)
    assert await registry.listed(run_id=run_id) == []
    await registry.commit(pending, caller=new)


async def test_a_lease_lost_during_an_upload_stores_no_checkpoint(registry: Registry) -> None:
    run_id, content = str(uuid.uuid4()), a_file(weights=50_000)
    call = registry.checkpoints.UploadCheckpoint(metadata=registry.worker(run_id, epoch=1))
    pieces = list(messages(content, run_id, digest_of(content)))
    await call.write(pieces[0])
    await eventually(lambda: files_of(registry))
    await claim(registry, run_id, 2)
    for piece in pieces[1:]:
        await call.write(piece)
    await call.done_writing()
    async with refused("STALE_EPOCH"):
        await call
    assert await registry.count("checkpoints") == 0
    await impatient(registry).sweep()
    await assert_nothing_stored(registry)


async def test_a_worker_writes_for_its_own_run_alone(registry: Registry) -> None:
    run_id, other = str(uuid.uuid4()), str(uuid.uuid4())
    theirs = await registry.a_checkpoint(run_id=other)
    worker = registry.worker(run_id)
    async with refused("NOT_YOUR_RUN", "PERMISSION_DENIED"):
        await registry.upload(a_file(), run_id=other, caller=worker)
    async with refused("NOT_YOUR_RUN", "PERMISSION_DENIED"):
        await registry.checkpoints.ClaimRun(pb.ClaimRunRequest(run_id=other), metadata=worker)
    async with refused("CHECKPOINT_NOT_FOUND", "NOT_FOUND"):
        await registry.commit(theirs, caller=worker)


async def test_a_claim_answers_the_newest_whole_checkpoint(registry: Registry) -> None:
    run_id = str(uuid.uuid4())
    assert not (await claim(registry, run_id, 1)).HasField("checkpoint")
    saved = [await registry.a_checkpoint(run_id=run_id, iteration=n) for n in (1, 2, 3)]
    await registry.upload(a_file(iteration=4), run_id=run_id)
    assert (await claim(registry, run_id, 2)).checkpoint.iteration == 3
    flip_a_byte(path_of(registry, saved[2].artifact.sha256))
    path_of(registry, saved[1].artifact.sha256).unlink()
    assert (await claim(registry, run_id, 3)).checkpoint.id == saved[0].id
    damaged = await registry.listed(state=checkpoint_pb2.CHECKPOINT_STATE_CORRUPT)
    assert {item.iteration: item.corrupt_reason for item in damaged} == {
        3: "its content has another digest",
        2: "the file is missing",
    }


async def test_people_write_for_their_own_runs_without_a_worker(registry: Registry) -> None:
    mine, theirs, trained = (str(uuid.uuid4()) for _ in range(3))
    registry.peers.run_owners = {
        mine: registry.user_id,
        theirs: str(uuid.uuid4()),
        trained: registry.user_id,
    }
    pending = await registry.upload(a_file(), run_id=mine, caller=registry.user)
    committed = await registry.commit(pending, caller=registry.user)
    assert (committed.owner_id, committed.epoch, committed.job_id) == (registry.user_id, 0, "")
    for run_id in (theirs, str(uuid.uuid4())):
        async with refused("RUN_NOT_FOUND", "NOT_FOUND"):
            await registry.upload(a_file(), run_id=run_id, caller=registry.user)
    pending = await registry.upload(a_file(), run_id=trained)
    async with refused("RUN_HAS_WORKER", "FAILED_PRECONDITION"):
        await registry.upload(a_file(), run_id=trained, caller=registry.user)
    async with refused("RUN_HAS_WORKER"):
        await registry.commit(pending, caller=registry.user)
