"""A registry on a loopback port, files to upload to it, and peers that know what a test says."""

from __future__ import annotations

import hashlib
import json
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from elodrome.evaluator.v1 import gate_pb2, gate_service_pb2, gate_service_pb2_grpc
from elodrome.executor.v1 import run_pb2, run_service_pb2, run_service_pb2_grpc
from elodrome.registry.v1 import (
    checkpoint_pb2,
    checkpoint_service_pb2,
    checkpoint_service_pb2_grpc,
    game_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
)
from safetensors.numpy import save
from sqlalchemy import text

from kit import errors, server
from kit.auth import Verifier
from kit.channel import Verdict
from kit.rpc import Gate
from services.registry.__main__ import build
from services.registry.settings import RegistrySettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from pathlib import Path

    from tests.tokens import Metadata, Tokens

PIECE_BYTES = 64 << 10


def a_file(
    *, iteration: int = 1, weights: int = 8, seed: int | None = None, **manifest: Any
) -> bytes:
    """A valid checkpoint; `weights` is its number of parameters, random unless seeded."""
    random = np.random.default_rng(seed)
    tensors = {
        "network.w": random.random(weights, dtype=np.float32),
        "optimizer.step": np.array([iteration]),
    }
    full = {
        "format_version": 1,
        "algorithm": "DQN",
        "game": "doom",
        "scenario": "basic",
        "observation_shape": [4, 36, 64],
        "action_combinations": "move_lr;attack",
        "action_count": 5,
        "frame_skip": 4,
        "recurrent": False,
        "config": {"seed": 1, "learning_rate": 5e-4},
        "iteration": iteration,
        "steps": iteration * 4,
        **manifest,
    }
    return save(tensors, metadata={"manifest": json.dumps(full)})


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Peers(run_service_pb2_grpc.RunServiceServicer, gate_service_pb2_grpc.GateServiceServicer):
    """An executor and an evaluator that know what a test tells them."""

    run_owners: dict[str, str] = field(default_factory=dict)
    decisions: dict[str, gate_pb2.GateDecision] = field(default_factory=dict)
    address: str = ""

    async def GetRun(  # noqa: N802 - the contract's name
        self, request: run_service_pb2.GetRunRequest, _context: Any
    ) -> run_pb2.Run:
        if request.id not in self.run_owners:
            raise errors.not_found("run", request.id)
        return run_pb2.Run(id=request.id, owner_id=self.run_owners[request.id])

    async def GetDecision(  # noqa: N802 - the contract's name
        self, request: gate_service_pb2.GetDecisionRequest, _context: Any
    ) -> gate_pb2.GateDecision:
        if request.id not in self.decisions:
            raise errors.not_found("decision", request.id)
        return self.decisions[request.id]

    @asynccontextmanager
    async def serving(self, keys_dir: Path) -> AsyncIterator[Peers]:
        peer = grpc.aio.server(interceptors=[Gate(Verifier.load(keys_dir))])
        run_service_pb2_grpc.add_RunServiceServicer_to_server(self, peer)
        gate_service_pb2_grpc.add_GateServiceServicer_to_server(self, peer)
        self.address = f"127.0.0.1:{peer.add_insecure_port('127.0.0.1:0')}"
        await peer.start()
        yield self
        await peer.stop(None)


class Registry:
    """A running registry with its stubs, and the things that most tests need in it."""

    def __init__(self, running: server.Running, tokens: Tokens, peers: Peers) -> None:
        self.running = running
        self.tokens = tokens
        self.peers = peers
        self.user_id = str(uuid.uuid4())
        self.user = tokens.user(self.user_id)
        self.games = game_service_pb2_grpc.GameServiceStub(running.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(running.channel)
        self.versions = version_service_pb2_grpc.VersionServiceStub(running.channel)
        self.checkpoints = checkpoint_service_pb2_grpc.CheckpointServiceStub(running.channel)

    def worker(self, run_id: str, *, epoch: int = 1, user_id: str = "") -> Metadata:
        return self.tokens.worker(
            run_id=run_id,
            job_id=str(uuid.uuid4()),
            epoch=epoch,
            user_id=user_id or self.user_id,
        )

    async def upload(
        self,
        content: bytes,
        *,
        run_id: str = "",
        caller: Metadata | None = None,
        sha256: str = "",
        size_bytes: int = 0,
    ) -> checkpoint_pb2.Checkpoint:
        run_id = run_id or str(uuid.uuid4())
        pieces = messages(content, run_id, sha256 or digest_of(content), size_bytes)
        return await self.send(pieces, run_id, caller=caller)

    async def send(
        self,
        pieces: Iterable[checkpoint_service_pb2.UploadCheckpointRequest],
        run_id: str,
        *,
        caller: Metadata | None = None,
    ) -> checkpoint_pb2.Checkpoint:
        return await Verdict(
            self.checkpoints.UploadCheckpoint(pieces, metadata=caller or self.worker(run_id))
        )

    async def commit(
        self,
        checkpoint: checkpoint_pb2.Checkpoint,
        *,
        caller: Metadata | None = None,
        metrics: dict[str, float] | None = None,
        **fields: Any,
    ) -> checkpoint_pb2.Checkpoint:
        request = checkpoint_service_pb2.CommitCheckpointRequest(
            id=checkpoint.id, iteration=checkpoint.iteration, metrics=metrics or {}, **fields
        )
        return await self.checkpoints.CommitCheckpoint(
            request, metadata=caller or self.worker(checkpoint.run_id)
        )

    async def a_checkpoint(
        self, *, run_id: str = "", metrics: dict[str, float] | None = None, **file: Any
    ) -> checkpoint_pb2.Checkpoint:
        return await self.commit(await self.upload(a_file(**file), run_id=run_id), metrics=metrics)

    async def a_model(self, name: str = "", **fields: Any) -> model_pb2.Model:
        request = model_service_pb2.CreateModelRequest(
            name=name or f"model-{uuid.uuid4().hex[:8]}", **fields
        )
        return await self.models.CreateModel(request, metadata=self.user)

    async def a_version(
        self,
        model: model_pb2.Model,
        *,
        checkpoint: checkpoint_pb2.Checkpoint | None = None,
        **fields: Any,
    ) -> model_pb2.Version:
        checkpoint = checkpoint or await self.a_checkpoint()
        request = version_service_pb2.CreateVersionRequest(
            model_id=model.id, checkpoint_id=checkpoint.id, **fields
        )
        return await self.versions.CreateVersion(request, metadata=self.user)

    def a_decision(
        self, version: model_pb2.Version, *, passed: bool = True, **fields: Any
    ) -> gate_pb2.GateDecision:
        decision = gate_pb2.GateDecision(
            **{
                "id": str(uuid.uuid4()),
                "passed": passed,
                "model_id": version.model_id,
                "version_id": version.id,
                "checkpoint_id": version.checkpoint_id,
                **fields,
            }
        )
        decision.create_time.GetCurrentTime()
        self.peers.decisions[decision.id] = decision
        return decision

    async def promote(self, version: model_pb2.Version, **fields: Any) -> model_pb2.Promotion:
        """Promote on a passing decision that the evaluator knows."""
        fields = fields or {"decision_id": self.a_decision(version).id}
        return await self.versions.PromoteVersion(
            version_service_pb2.PromoteVersionRequest(id=version.id, **fields), metadata=self.user
        )

    async def model(self, model_id: str) -> model_pb2.Model:
        return await self.models.GetModel(
            model_service_pb2.GetModelRequest(id=model_id), metadata=self.user
        )

    async def checkpoint(self, checkpoint_id: str) -> checkpoint_pb2.Checkpoint:
        return await self.checkpoints.GetCheckpoint(
            checkpoint_service_pb2.GetCheckpointRequest(id=checkpoint_id), metadata=self.user
        )

    async def resolve(self, reference: str) -> model_pb2.Version:
        return await self.versions.ResolveVersion(
            version_service_pb2.ResolveVersionRequest(reference=reference), metadata=self.user
        )

    async def listed(
        self, caller: Metadata | None = None, **fields: Any
    ) -> list[checkpoint_pb2.Checkpoint]:
        answer = await self.checkpoints.ListCheckpoints(
            checkpoint_service_pb2.ListCheckpointsRequest(**fields), metadata=caller or self.user
        )
        return list(answer.items)

    async def events(self, kind: Any) -> list[Any]:
        """Everything of a kind that was emitted, oldest first."""
        prefix = f"{kind.DESCRIPTOR.full_name}."
        query = text("SELECT subject, payload FROM outbox ORDER BY sequence")
        async with self.running.context.sessions() as session:
            rows = (await session.execute(query)).all()
        return [kind.FromString(payload) for subject, payload in rows if subject.startswith(prefix)]

    async def count(self, table: str) -> int:
        async with self.running.context.sessions() as session:
            return await session.scalar(text(f"SELECT count(*) FROM {table}"))


def messages(
    content: bytes, run_id: str, sha256: str, size_bytes: int = 0
) -> Iterator[checkpoint_service_pb2.UploadCheckpointRequest]:
    request = checkpoint_service_pb2.UploadCheckpointRequest
    yield request(run_id=run_id, sha256=sha256, size_bytes=size_bytes, data=content[:PIECE_BYTES])
    for start in range(PIECE_BYTES, len(content), PIECE_BYTES):
        yield request(data=content[start : start + PIECE_BYTES])


@asynccontextmanager
async def a_registry(
    service_environment: Callable[[str], dict[str, Any]], tokens: Tokens, **settings: Any
) -> AsyncIterator[Registry]:
    """Run a registry with its peers in this process; without a bus unless `nats_url` is given."""
    environment = (
        service_environment("registry") | {"nats_url": "", "database_pool_size": 10} | settings
    )
    async with Peers().serving(environment["keys_dir"]) as peers:
        addresses = {"executor": peers.address, "evaluator": peers.address}
        complete = RegistrySettings(**environment, addresses=addresses)
        async with server.running(complete, build) as running:
            yield Registry(running, tokens, peers)


@asynccontextmanager
async def refused(reason: str, code: str = "") -> AsyncIterator[list[errors.RpcError]]:
    """Expect the block's call to be refused for this reason; hands out the refusal."""
    found: list[errors.RpcError] = []
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        yield found
    refusal = errors.from_call(caught.value)
    assert refusal.reason == reason, refusal
    assert not code or refusal.code.name == code
    found.append(refusal)
