"""The registry is killed in the middle of a write; what it had acknowledged is there afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import pytest
from elodrome.registry.v1 import checkpoint_pb2, checkpoint_service_pb2, checkpoint_service_pb2_grpc
from sqlalchemy import text

from tests.service.registry_service import Registry, a_file, a_registry, digest_of, messages
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.tokens import Metadata, Tokens

ROOT = Path(__file__).parents[2]


def variables(environment: dict[str, Any], failpoint: str) -> dict[str, str]:
    names = ("database_url", "keys_dir", "artifacts_url", "home")
    settings = {f"ELODROME_{name.upper()}": str(environment[name]) for name in names}
    return {
        **os.environ,
        **settings,
        "ELODROME_REGISTRY_GRPC_PORT": "0",
        "ELODROME_REGISTRY_METRICS_PORT": "0",
        "ELODROME_FAILPOINT": failpoint,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
    }


@asynccontextmanager
async def a_registry_that_dies(
    environment: dict[str, Any], failpoint: str
) -> AsyncIterator[checkpoint_service_pb2_grpc.CheckpointServiceStub]:
    """Run the service as a process of its own; at the end of the block it must have been killed."""
    log = Path(environment["home"]) / "registry.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.registry"),
            cwd=ROOT,
            env=variables(environment, failpoint),
            stdout=output,
            stderr=output,
        )
    try:
        port = await eventually(lambda: port_in(log), within_s=60)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield checkpoint_service_pb2_grpc.CheckpointServiceStub(channel)
        async with asyncio.timeout(20):
            assert await process.wait() == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def port_in(log: Path) -> str:
    """The port that the service says it serves on, or nothing yet."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    serving = [line["address"] for line in lines if line["event"] == "serving"]
    return serving[0].rpartition(":")[2] if serving else ""


@pytest.mark.parametrize(
    ("failpoint", "uploaded", "committed"),
    [
        ("checkpoint.staged", False, False),
        ("artifact.stored", False, False),
        ("checkpoint.before_commit", True, False),
        ("checkpoint.committed", True, True),
    ],
)
async def test_a_kill_leaves_all_or_nothing(
    service_environment: Callable[[str], dict[str, Any]],
    tokens: Tokens,
    failpoint: str,
    uploaded: bool,
    committed: bool,
) -> None:
    environment = service_environment("registry")
    run_id, content = str(uuid.uuid4()), a_file(iteration=3, weights=400_000)
    user_id = str(uuid.uuid4())
    worker = tokens.worker(run_id=run_id, job_id=str(uuid.uuid4()), user_id=user_id)
    async with a_registry_that_dies(environment, f"{failpoint}:kill") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await save(stub, content, run_id, worker)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE

    async with a_registry(lambda _: environment, tokens) as registry:
        registry.user_id = user_id
        await assert_state(registry, run_id, uploaded=uploaded, committed=committed)
        again = await registry.upload(content, run_id=run_id)
        done = await registry.commit(again)
        assert done.state == checkpoint_pb2.CHECKPOINT_STATE_COMMITTED
        assert await events_of(registry) == 1
    root = Path(urlsplit(environment["artifacts_url"]).path)
    stored = [path for path in (root / "sha256").rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in stored] == [content]


async def save(
    stub: checkpoint_service_pb2_grpc.CheckpointServiceStub,
    content: bytes,
    run_id: str,
    worker: Metadata,
) -> None:
    pending = await stub.UploadCheckpoint(
        messages(content, run_id, digest_of(content)), metadata=worker
    )
    await stub.CommitCheckpoint(
        checkpoint_service_pb2.CommitCheckpointRequest(id=pending.id, iteration=3), metadata=worker
    )


async def assert_state(registry: Registry, run_id: str, *, uploaded: bool, committed: bool) -> None:
    claimed = await registry.checkpoints.ClaimRun(
        checkpoint_service_pb2.ClaimRunRequest(run_id=run_id), metadata=registry.worker(run_id)
    )
    assert claimed.HasField("checkpoint") is committed
    async with registry.running.context.sessions() as session:
        rows = await session.scalar(text("SELECT count(*) FROM checkpoints"))
    assert rows == int(uploaded)
    assert await events_of(registry) == int(committed)


async def events_of(registry: Registry) -> int:
    async with registry.running.context.sessions() as session:
        return await session.scalar(text("SELECT count(*) FROM outbox"))
