"""Models: create, find, change, delete and bring back; aliases; promotion history and rollback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from elodrome.registry.v1 import model_pb2, model_service_pb2_grpc
from elodrome.registry.v1 import model_service_pb2 as pb
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from kit import errors, parse
from kit.auth import principal
from kit.db import new_id, server_now
from kit.page import list_page
from services.registry import access
from services.registry.disposal import Disposal, lock_digest, release
from services.registry.models.catalogue import Game, Map
from services.registry.models.checkpoint import Checkpoint
from services.registry.models.model import (
    ROLLBACK,
    Alias,
    Model,
    Promotion,
    Version,
    describe,
    promote,
    rollback_target,
    stable_id_of,
)
from services.registry.tags import MAX_TEXT, TagVocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    import grpc
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.db import Sessions

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ALIAS = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_RESERVED = {"stable", "latest"}
_MAX_STYLES = 20
_MAX_STYLE_LENGTH = 40


class ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    """Answers about models."""

    def __init__(self, sessions: Sessions, disposal: Disposal, tags: TagVocabulary) -> None:
        self._sessions = sessions
        self._disposal = disposal
        self._tags = tags

    async def CreateModel(
        self, request: pb.CreateModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        caller = principal()
        row = {
            "id": new_id(),
            "name": _name(request.name),
            "description": _text(request.description, "description"),
            "owner_id": caller.user_id,
            "styles": _styles(request.styles, "styles"),
            "private": request.private,
            "request_id": parse.optional_uuid(request.request_id, "request_id"),
        }
        async with self._sessions.begin() as session:
            row.update(await _place(session, request))
            created = await session.scalar(
                insert(Model).values(row).on_conflict_do_nothing().returning(Model)
            )
            model = await _created(session, created, row)
            return (await describe(session, [model]))[0]

    async def GetModel(
        self, request: pb.GetModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        async with self._sessions() as session:
            model = await access.model_to_read(session, request.id)
            return (await describe(session, [model]))[0]

    async def ListModels(
        self, request: pb.ListModelsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListModelsResponse:
        query = select(Model).where(access.visible_models())
        if request.deleted:
            query = query.where(Model.delete_time.is_not(None), access.own_models())
        else:
            query = query.where(Model.delete_time.is_(None))
        for field in ("game_id", "map_id", "owner_id"):
            if value := getattr(request, field):
                query = query.where(getattr(Model, field) == parse.uuid(value, field))
        if request.name:
            query = query.where(func.lower(Model.name) == request.name.lower())
        if request.tag:
            tagged = select(Version.id).where(
                Version.model_id == Model.id, Version.tag == self._tags.known(request.tag)
            )
            query = query.where(tagged.exists())
        async with self._sessions() as session:
            models, token, total = await list_page(
                session, query, Model, request, convert=lambda model: model
            )
            items = await describe(session, models)
        return pb.ListModelsResponse(items=items, next_page_token=token, total=total)

    async def UpdateModel(
        self, request: pb.UpdateModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        async with self._sessions.begin() as session:
            model = await access.model_to_change(session, request.id)
            if request.HasField("name"):
                model.name = _name(request.name)
            if request.HasField("description"):
                model.description = _text(request.description, "description")
            if request.HasField("private"):
                model.private = request.private
            if request.HasField("styles"):
                model.styles = _styles(request.styles.values, "styles")
            if request.HasField("tag"):
                version = await _newest(session, model)
                self._tags.move(version, request.tag)
            await _flush_name(session, model.name)
            return (await describe(session, [model]))[0]

    async def DeleteModel(
        self, request: pb.DeleteModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        async with self._sessions.begin() as session:
            model = await access.model_to_change(session, request.id)
            stable_id = await stable_id_of(session, model.id)
            if stable_id and not request.force:
                raise errors.failed_precondition(
                    f"model {model.name} has a stable version; force deletes it all the same",
                    reason="MODEL_IN_USE",
                    stable_version_id=stable_id,
                )
            model.delete_time = (await session.scalars(select(server_now()))).one()
            await session.flush()
            return (await describe(session, [model]))[0]

    async def RestoreModel(
        self, request: pb.RestoreModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Model:
        async with self._sessions.begin() as session:
            model = await _deleted_model(session, request.id)
            model.delete_time = None
            await _flush_name(session, model.name)
            return (await describe(session, [model]))[0]

    async def PurgeModel(
        self, request: pb.PurgeModelRequest, _context: grpc.aio.ServicerContext
    ) -> pb.PurgeModelResponse:
        async with self._sessions.begin() as session:
            model = await _deleted_model(session, request.id)
            checkpoints = await _published_by(session, model)
            for sha256 in sorted({checkpoint.sha256 for checkpoint in checkpoints}):
                await lock_digest(session, sha256)
            await session.execute(delete(Alias).where(Alias.model_id == model.id))
            gone = await session.scalars(
                delete(Version).where(Version.model_id == model.id).returning(Version.id)
            )
            version_count = len(gone.all())
            await session.delete(model)
            freed = await release(session, await _delete_unpublished(session, checkpoints))
        await self._disposal.remove_files(freed)
        return pb.PurgeModelResponse(version_count=version_count, freed_bytes=sum(freed.values()))

    async def SetAlias(
        self, request: pb.SetAliasRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Alias:
        name = _alias(request.name)
        version_id = parse.uuid(request.version_id, "version_id")
        async with self._sessions.begin() as session:
            model = await access.model_to_change(session, request.model_id, "model_id")
            version = await session.get(Version, version_id)
            if version is None or version.model_id != model.id:
                raise errors.not_found("version", version_id)
            alias = await session.get(Alias, (model.id, name))
            if alias is None:
                alias = Alias(model_id=model.id, name=name)
                session.add(alias)
            alias.version = version
            await session.flush()
            return alias.to_proto()

    async def DeleteAlias(
        self, request: pb.DeleteAliasRequest, _context: grpc.aio.ServicerContext
    ) -> pb.DeleteAliasResponse:
        async with self._sessions.begin() as session:
            model = await access.model_to_change(session, request.model_id, "model_id")
            alias = await session.get(Alias, (model.id, _alias(request.name)))
            if alias is None:
                raise errors.not_found("alias", request.name)
            await session.delete(alias)
        return pb.DeleteAliasResponse()

    async def ListPromotions(
        self, request: pb.ListPromotionsRequest, _context: grpc.aio.ServicerContext
    ) -> pb.ListPromotionsResponse:
        async with self._sessions() as session:
            model = await access.model_to_read(session, request.model_id, "model_id")
            items, token, total = await list_page(
                session,
                select(Promotion).where(Promotion.model_id == model.id),
                Promotion,
                request,
                convert=Promotion.to_proto,
            )
        return pb.ListPromotionsResponse(items=items, next_page_token=token, total=total)

    async def RollbackModel(
        self, request: pb.RollbackModelRequest, _context: grpc.aio.ServicerContext
    ) -> model_pb2.Promotion:
        model_id = parse.uuid(request.id, "id")
        reason = _text(request.reason, "reason")
        async with self._sessions.begin() as session:
            seen = await stable_id_of(session, model_id)
            model = await access.model_to_change(session, model_id)
            await access.check_not_raced(session, model, seen)
            target = await rollback_target(session, model.id)
            promotion = Promotion(kind=ROLLBACK, reason=reason, actor_id=principal().subject)
            return (await promote(session, target, promotion)).to_proto()


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise errors.invalid_argument(
            "name",
            "must be 1..63 letters, digits, '.', '_' or '-', beginning with a letter or digit",
        )
    return value


def _alias(value: str) -> str:
    if not _ALIAS.fullmatch(value):
        raise errors.invalid_argument(
            "name",
            "must be 1..63 lowercase letters, digits, '_' or '-', beginning with a letter",
        )
    if value in _RESERVED:
        raise errors.invalid_argument("name", f"{value} is reserved", reason="RESERVED_ALIAS")
    return value


def _text(value: str, field: str) -> str:
    return parse.text(value, field, min_length=0, max_length=MAX_TEXT)


def _styles(values: Iterable[str], field: str) -> list[str]:
    styles = [parse.text(value, field, max_length=_MAX_STYLE_LENGTH) for value in values]
    if len(styles) > _MAX_STYLES:
        raise errors.invalid_argument(field, f"must be at most {_MAX_STYLES}")
    return list(dict.fromkeys(styles))


async def _place(session: AsyncSession, request: pb.CreateModelRequest) -> dict[str, Any]:
    """Return the game and map that a new model is for; the map decides the game."""
    game_id = parse.optional_uuid(request.game_id, "game_id")
    map_id = parse.optional_uuid(request.map_id, "map_id")
    if game_id and await session.get(Game, game_id) is None:
        raise errors.not_found("game", game_id)
    if map_id:
        found = await session.get(Map, map_id)
        if found is None:
            raise errors.not_found("map", map_id)
        if game_id not in {None, found.game_id}:
            raise errors.invalid_argument("map_id", f"is a map of game {found.game_id}")
        game_id = found.game_id
    return {"game_id": game_id, "map_id": map_id}


async def _created(session: AsyncSession, created: Model | None, row: dict[str, Any]) -> Model:
    """Return the new model, or the one that an earlier call with this request id made."""
    if created:
        return created
    if row["request_id"]:
        earlier = await session.scalar(
            select(Model).where(
                Model.owner_id == row["owner_id"], Model.request_id == row["request_id"]
            )
        )
        if earlier is not None:
            return earlier
    raise _name_taken(row["name"])


def _name_taken(name: str) -> errors.RpcError:
    return errors.already_exists(
        f"a model named {name} exists", reason="MODEL_EXISTS", field="name", name=name
    )


async def _flush_name(session: AsyncSession, name: str) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if "uq_models_name" not in str(error.orig):
            raise
        raise _name_taken(name) from error


async def _newest(session: AsyncSession, model: Model) -> Version:
    newest = await session.scalar(
        select(Version).where(Version.model_id == model.id).order_by(Version.number.desc()).limit(1)
    )
    if newest is None:
        raise errors.failed_precondition(
            f"model {model.name} has no version to tag", reason="NO_VERSION", model_id=model.id
        )
    return newest


async def _deleted_model(session: AsyncSession, model_id: str) -> Model:
    model = await access.model_to_change(session, model_id, deleted=True)
    if model.delete_time is None:
        raise errors.failed_precondition(
            f"model {model.name} is not deleted", reason="MODEL_NOT_DELETED", model_id=model.id
        )
    return model


async def _published_by(session: AsyncSession, model: Model) -> Sequence[Checkpoint]:
    published = select(Version.checkpoint_id).where(Version.model_id == model.id)
    return (await session.scalars(select(Checkpoint).where(Checkpoint.id.in_(published)))).all()


async def _delete_unpublished(
    session: AsyncSession, checkpoints: Sequence[Checkpoint]
) -> list[str]:
    """Delete those of the checkpoints that no version publishes any more; return their digests."""
    users = select(Version.id).where(Version.checkpoint_id == Checkpoint.id)
    gone = await session.scalars(
        delete(Checkpoint)
        .where(Checkpoint.id.in_([row.id for row in checkpoints]), ~users.exists())
        .returning(Checkpoint.sha256)
    )
    return list(gone)
