"""Versions: publish a checkpoint, find it by name, promote it on evidence, explain and send it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from elodrome.registry.v1 import model_pb2, version_service_pb2_grpc
from elodrome.registry.v1 import version_service_pb2 as pb
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from sqlalchemy import func, select

from kit import errors, parse
from kit.auth import principal
from kit.page import list_page
from services.registry import access
from services.registry.models.catalogue import Game, Map
from services.registry.models.decision import decisions_about
from services.registry.models.model import (
    CANDIDATE,
    STABLE,
    Alias,
    Model,
    Promotion,
    Version,
    describe,
    promoted_as_of,
    stable_of,
)
from services.registry.models.signature import mismatch
from services.registry.tags import MAX_TEXT, TagVocabulary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc
    from google.protobuf.timestamp_pb2 import Timestamp
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions
    from services.registry.downloads import Downloads
    from services.registry.models.checkpoint import Checkpoint
    from services.registry.promotion import Promoter


_MAX_NUMBER = (1 << 31) - 1


class VersionServicer(version_service_pb2_grpc.VersionServiceServicer):
    """Answers about versions."""

    def __init__(
        self, sessions: Sessions, downloads: Downloads, tags: TagVocabulary, promoter: Promoter
    ) -> None:
        self._sessions = sessions
        self._downloads = downloads
        self._tags = tags
        self._promoter = promoter

    async def CreateVersion(
        self, request: pb.CreateVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        tag = self._tags.free(request.tag or CANDIDATE)
        description = parse.text(
            request.description, "description", min_length=0, max_length=MAX_TEXT
        )
        request_id = parse.optional_uuid(request.request_id, "request_id")
        async with self._sessions.begin() as session:
            model = await access.model_to_change(session, request.model_id, "model_id")
            if earlier := await _by_request(session, model, request_id):
                return earlier.to_proto()
            found = await access.own_checkpoint(session, request.checkpoint_id, "checkpoint_id")
            checkpoint = await access.locked_checkpoint(session, found)
            checkpoint.check_usable()
            await _check_purpose(session, model, checkpoint)
            creator_id = principal().user_id or model.owner_id
            version = model.new_version(checkpoint, tag=tag, creator_id=creator_id)
            version.description = description
            version.request_id = request_id
            session.add(version)
            await session.flush()
            version.announce(session)
            return version.to_proto()

    async def GetVersion(
        self, request: pb.GetVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        async with self._sessions() as session:
            return (await access.version_to_read(session, request.id)).to_proto()

    async def ResolveVersion(
        self, request: pb.ResolveVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        name, separator, label = request.reference.partition("@")
        if not name or not separator or not label or "\x00" in request.reference:
            raise errors.invalid_argument("reference", "must have the form model@label")
        query = (
            _labelled(label)
            .join(Version.model)
            .where(
                func.lower(Model.name) == name.lower(),
                Model.delete_time.is_(None),
                access.visible_models(),
            )
        )
        async with self._sessions() as session:
            version = await session.scalar(query)
            if version is None:
                raise errors.not_found("version", request.reference)
            return version.to_proto()

    async def GetStableVersion(
        self, request: pb.GetStableVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        async with self._sessions() as session:
            model = await access.model_to_read(session, request.model_id, "model_id")
            if request.HasField("as_of"):
                moment = _moment(request.as_of, "as_of")
                version_id = await promoted_as_of(session, model.id, moment)
                version = await session.get(Version, version_id) if version_id else None
            else:
                version = await stable_of(session, model.id)
            if version is None:
                raise errors.not_found("stable version of", model.name, reason="NO_STABLE_VERSION")
            return version.to_proto()

    async def ListVersions(
        self, request: pb.ListVersionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListVersionsResponse:
        query = (
            select(Version)
            .join(Version.model)
            .where(Model.delete_time.is_(None), access.visible_models())
        )
        if request.tag:
            query = query.where(Version.tag == self._tags.known(request.tag))
        if request.checkpoint_id:
            checkpoint_id = parse.uuid(request.checkpoint_id, "checkpoint_id")
            query = query.where(Version.checkpoint_id == checkpoint_id)
        async with self._sessions() as session:
            if request.model_id:
                model = await access.model_to_read(session, request.model_id, "model_id")
                query = query.where(Version.model_id == model.id)
            items, token, total = await list_page(
                session, query, Version, request, convert=Version.to_proto
            )
        return pb.ListVersionsResponse(items=items, next_page_token=token, total=total)

    async def UpdateVersion(
        self, request: pb.UpdateVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Version:
        async with self._sessions.begin() as session:
            version = await access.version_to_change(session, request.id)
            if request.HasField("description"):
                version.description = parse.text(
                    request.description, "description", min_length=0, max_length=MAX_TEXT
                )
            if request.HasField("tag"):
                self._tags.move(version, request.tag)
            await session.flush()
            return version.to_proto()

    async def DeleteVersion(
        self, request: pb.DeleteVersionRequest, _context: grpc.aio.ServicerContext
    ) -> pb.DeleteVersionResponse:
        async with self._sessions.begin() as session:
            version = await access.version_to_change(session, request.id)
            if references := await _references(session, version):
                raise errors.failed_precondition(
                    f"version {version.number} of {version.model.name} is in use: "
                    + ", ".join(references),
                    reason="VERSION_IN_USE",
                    references=", ".join(references),
                )
            await session.delete(version)
        return pb.DeleteVersionResponse()

    async def PromoteVersion(
        self, request: pb.PromoteVersionRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Promotion:
        return await self._promoter.promote(request)

    async def GetLineage(
        self, request: pb.GetLineageRequest, _context: grpc.aio.ServicerContext
    ) -> pb.Lineage:
        async with self._sessions() as session:
            version = await access.version_to_read(session, request.id)
            manifest = version.checkpoint.manifest
            place = await _place(session, version.checkpoint)
            promotions = await session.scalars(
                select(Promotion)
                .where(Promotion.version_id == version.id)
                .order_by(Promotion.sequence.desc())
            )
            return pb.Lineage(
                version=version.to_proto(),
                model=(await describe(session, [version.model]))[0],
                checkpoint=version.checkpoint.to_proto(),
                run_id=version.checkpoint.run_id,
                config=ParseDict(manifest.get("config", {}), Struct()),
                code_commit=str(manifest.get("code_commit", "")),
                game_id=place.game_id if place else "",
                map_id=place.id if place else "",
                decisions=[row.to_proto() for row in await decisions_about(session, version)],
                promotions=[row.to_proto() for row in promotions],
            )

    async def DownloadVersion(
        self, request: pb.DownloadVersionRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[pb.DownloadVersionResponse]:
        async with self._sessions() as session:
            version = await access.version_to_read(session, request.id)
        name = f"{version.model.name}-{version.number}"
        artifact = version.checkpoint.artifact
        async for data in self._downloads.stream(artifact, context, name=name):
            yield pb.DownloadVersionResponse(data=data)


def _moment(value: Timestamp, field: str) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise errors.invalid_argument(field, "must lie in the years 1 to 9999") from error


def _labelled(label: str) -> Select[Version]:
    """Return the query for the version of a model that a label names."""
    if label == STABLE:
        return select(Version).where(Version.tag == STABLE)
    if label == "latest":
        return select(Version).order_by(Version.number.desc()).limit(1)
    if label.isascii() and label.isdecimal():
        return select(Version).where(Version.number == min(int(label[:10]), _MAX_NUMBER))
    return select(Version).join(Alias, Alias.version_id == Version.id).where(Alias.name == label)


async def _by_request(
    session: AsyncSession, model: Model, request_id: str | None
) -> Version | None:
    if request_id is None:
        return None
    return await session.scalar(
        select(Version).where(Version.model_id == model.id, Version.request_id == request_id)
    )


async def _place(session: AsyncSession, checkpoint: Checkpoint) -> Map | None:
    signature = checkpoint.signature
    return await session.scalar(
        select(Map)
        .join(Map.game)
        .where(Game.name == signature.game, Map.name == signature.scenario)
    )


async def _check_purpose(session: AsyncSession, model: Model, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint made for another game or map than the model is for."""
    signature = checkpoint.signature
    if model.game_id:
        game = await session.get_one(Game, model.game_id)
        if game.name != signature.game:
            raise mismatch("game", actual=signature.game or "unknown", expected=game.name)
    if model.map_id:
        found = await session.get_one(Map, model.map_id)
        if found.name != signature.scenario:
            raise mismatch("scenario", actual=signature.scenario or "unknown", expected=found.name)


async def _references(session: AsyncSession, version: Version) -> list[str]:
    """Name everything that keeps a version from being deleted."""
    references = [f"alias {alias.name}" for alias in version.aliases]
    if version.tag == STABLE:
        references.insert(0, "the model's stable version")
    elif await session.scalar(
        select(Promotion.id).where(Promotion.version_id == version.id).limit(1)
    ):
        references.insert(0, "the promotion history")
    return references
