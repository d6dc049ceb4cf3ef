"""A registry that knows the models a test puts into it, on a loopback port."""

# ruff: noqa: N802 - RPC methods carry the names of the contract.

from __future__ import annotations

import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from elodrome.registry.v1 import (
    checkpoint_pb2,
    events_pb2,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_service_pb2_grpc,
)

from kit.auth import Verifier
from kit.errors import not_found
from kit.rpc import Gate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def a_version(model: model_pb2.Model, number: int, tag: str = "stable") -> model_pb2.Version:
    return model_pb2.Version(
        id=str(uuid.uuid4()),
        model_id=model.id,
        model_name=model.name,
        number=number,
        tag=tag,
        checkpoint_id=str(uuid.uuid4()),
        artifact=checkpoint_pb2.Artifact(sha256=f"{number:064x}", size_bytes=1),
        creator_id=model.owner_id,
    )


@dataclass
class Registry(
    model_service_pb2_grpc.ModelServiceServicer, version_service_pb2_grpc.VersionServiceServicer
):
    """Answers as the registry's contract says, from memory."""

    models: dict[str, model_pb2.Model] = field(default_factory=dict)
    versions: dict[str, model_pb2.Version] = field(default_factory=dict)
    calls: int = 0

    def add_model(
        self, name: str, *, styles: tuple[str, ...] = (), promoted: bool = True
    ) -> model_pb2.Model:
        model = model_pb2.Model(
            id=str(uuid.uuid4()), name=name, styles=styles, owner_id=str(uuid.uuid4())
        )
        self.models[model.id] = model
        if promoted:
            self.promote(model)
        return model

    def add_candidate(self, model: model_pb2.Model) -> model_pb2.Version:
        version = a_version(model, len(self.versions) + 1, tag="candidate")
        self.versions[version.id] = version
        return version

    def promote(self, model: model_pb2.Model) -> events_pb2.ModelPromoted:
        version = a_version(model, len(self.versions) + 1)
        version.update_time.GetCurrentTime()
        self.versions[version.id] = version
        model.stable_version.CopyFrom(version)
        return events_pb2.ModelPromoted(
            promotion_id=str(uuid.uuid4()),
            model_id=model.id,
            model_name=model.name,
            version_id=version.id,
            version_number=version.number,
            checkpoint_id=version.checkpoint_id,
            sha256=version.artifact.sha256,
            promote_time=version.update_time,
        )

    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        self.calls += 1
        if request.id not in self.models:
            raise not_found("model", request.id)
        return self.models[request.id]

    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, _context: grpc.aio.ServicerContext
    ) -> model_service_pb2.ListModelsResponse:
        self.calls += 1
        # One model a page: whoever asks has to turn the pages.
        models = [one for one in self.models.values() if one.HasField("stable_version")]
        page = int(request.page_token or 0)
        return model_service_pb2.ListModelsResponse(
            items=models[page : page + 1],
            next_page_token=str(page + 1) if page + 1 < len(models) else "",
            total=len(models),
        )

    async def GetVersion(
        self, request: object, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        self.calls += 1
        if request.id not in self.versions:
            raise not_found("version", request.id)
        return self.versions[request.id]


@dataclass
class RunningRegistry:
    """A registry that can be stopped."""

    registry: Registry
    address: str
    server: grpc.aio.Server

    async def stop(self) -> None:
        await self.server.stop(None)


@asynccontextmanager
async def running_registry(keys_dir: Path) -> AsyncIterator[RunningRegistry]:
    registry = Registry()
    # The same gate as every service: whoever calls needs a token and a role.
    server = grpc.aio.server(interceptors=[Gate(Verifier.load(keys_dir))])
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(registry, server)
    version_service_pb2_grpc.add_VersionServiceServicer_to_server(registry, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield RunningRegistry(registry, f"127.0.0.1:{port}", server)
    await server.stop(None)
