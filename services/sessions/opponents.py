"""Who the player faces: a promoted version, as the registry says when the session starts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from elodrome.registry.v1 import (
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    version_service_pb2,
    version_service_pb2_grpc,
)
from elodrome.sessions.v1 import session_pb2
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import distinct_on, insert

from kit import errors
from services.sessions.model import KnownPromotion, Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from elodrome.registry.v1 import events_pb2
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal
    from kit.server import Context

STABLE = "stable"
REGISTRY_TIMEOUT_S = 3
_PAGE_SIZE = 200
_ANSWERS_NOT = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


@dataclass(frozen=True)
class Wish:
    """What the player asked for; empty fields leave the choice open."""

    model_id: str = ""
    version_id: str = ""
    style: str = ""


async def choose_opponent(context: Context, wish: Wish, caller: Principal) -> session_pb2.Opponent:
    """Return the version to play against.

    Raises the registry's NOT_FOUND, FAILED_PRECONDITION where nothing is promoted,
    PERMISSION_DENIED for a version that the caller may not play yet, and UNAVAILABLE where the
    registry does not answer and no promotion is known that may stand in.
    """
    try:
        return await _ask_registry(context, wish, caller)
    except grpc.aio.AioRpcError as error:
        if error.code() not in _ANSWERS_NOT:
            raise
    async with context.sessions() as db:
        opponent = await _last_heard_of(db, wish, caller)
    if opponent is None:
        raise errors.unavailable("the registry does not answer; try again in a moment")
    return opponent


async def remember_promotion(db: AsyncSession, event: events_pb2.ModelPromoted) -> None:
    """Keep the newest promotion of each model; older events that come late change nothing."""
    values = {
        "model_name": event.model_name,
        "version_id": event.version_id,
        "version_number": event.version_number,
        "checkpoint_id": event.checkpoint_id,
        "sha256": event.sha256,
        "promote_time": event.promote_time.ToDatetime(tzinfo=UTC),
    }
    added = insert(KnownPromotion).values(model_id=event.model_id, **values)
    await db.execute(
        added.on_conflict_do_update(
            index_elements=[KnownPromotion.model_id],
            set_=values,
            where=KnownPromotion.promote_time < added.excluded.promote_time,
        )
    )


async def _ask_registry(context: Context, wish: Wish, caller: Principal) -> session_pb2.Opponent:
    registry = _Registry(context, caller)
    if wish.version_id:
        version = await registry.version(wish.version_id)
        _check_playable(version, caller)
        model = await registry.model(version.model_id)
        if wish.model_id and wish.model_id != model.id:
            raise errors.invalid_argument("version_id", f"is not a version of {wish.model_id}")
        return _opponent(model, version)
    if wish.model_id:
        model = await registry.model(wish.model_id)
        if not model.HasField("stable_version"):
            raise errors.failed_precondition(
                f"model {model.name} has no promoted version yet; promote one first",
                reason="NO_STABLE_VERSION",
                model_id=model.id,
            )
        if not _has_style(model.styles, wish.style):
            raise _no_opponent(wish.style, model_id=model.id)
        return _opponent(model, model.stable_version)
    promoted = [
        model async for model in registry.promoted() if _has_style(model.styles, wish.style)
    ]
    if not promoted:
        raise _no_opponent(wish.style)
    async with context.sessions() as db:
        newest = await _newest(db, promoted)
    return _opponent(newest, newest.stable_version)


class _Registry:
    """The registry as the player sees it."""

    def __init__(self, context: Context, caller: Principal) -> None:
        channel = context.channel("registry")
        self._models = model_service_pb2_grpc.ModelServiceStub(channel)
        self._versions = version_service_pb2_grpc.VersionServiceStub(channel)
        # Staff sees private models too, which a call on somebody's behalf does not.
        behalf = "" if caller.roles & {"ADMIN", "OPERATOR"} else caller.user_id
        self._metadata = context.call_metadata(on_behalf_of=behalf)

    async def version(self, version_id: str) -> model_pb2.Version:
        return await self._versions.GetVersion(
            version_service_pb2.GetVersionRequest(id=version_id),
            metadata=self._metadata,
            timeout=REGISTRY_TIMEOUT_S,
        )

    async def model(self, model_id: str) -> model_pb2.Model:
        return await self._models.GetModel(
            model_service_pb2.GetModelRequest(id=model_id),
            metadata=self._metadata,
            timeout=REGISTRY_TIMEOUT_S,
        )

    async def promoted(self) -> AsyncIterator[model_pb2.Model]:
        """Yield the models that have a promoted version."""
        request = model_service_pb2.ListModelsRequest(page_size=_PAGE_SIZE, tag=STABLE)
        while True:
            page = await self._models.ListModels(
                request, metadata=self._metadata, timeout=REGISTRY_TIMEOUT_S
            )
            for model in page.items:
                if model.HasField("stable_version"):
                    yield model
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _check_playable(version: model_pb2.Version, caller: Principal) -> None:
    """Refuse a version that is not promoted to all but staff and the trainer who published it."""
    staff = caller.roles & {"ADMIN", "OPERATOR"}
    trainer = "USER" in caller.roles and version.creator_id == caller.user_id
    if version.tag != STABLE and not staff and not trainer:
        raise errors.permission_denied(
            f"version {version.number} of {version.model_name} is {version.tag}; "
            "players play promoted versions only",
            reason="VERSION_NOT_PROMOTED",
            version_id=version.id,
            tag=version.tag,
        )


def _has_style(styles: Iterable[str], style: str) -> bool:
    return not style or style.casefold() in {known.casefold() for known in styles}


def _no_opponent(style: str, **metadata: str) -> errors.RpcError:
    who = f"in the style {style!r}" if style else "at all"
    return errors.failed_precondition(
        f"no promoted agent plays {who}", reason="NO_OPPONENT", opponent_style=style, **metadata
    )


async def _newest(db: AsyncSession, models: Iterable[model_pb2.Model]) -> model_pb2.Model:
    """Return the model that was promoted last.

    The version's own time stands in while the event of the promotion is still under way.
    """
    rows = await db.scalars(select(KnownPromotion))
    times = {(row.model_id, row.version_id): row.promote_time for row in rows}

    def promoted_at(model: model_pb2.Model) -> datetime:
        version = model.stable_version
        return times.get((model.id, version.id)) or version.update_time.ToDatetime(tzinfo=UTC)

    return max(models, key=promoted_at)


async def _last_heard_of(
    db: AsyncSession, wish: Wish, caller: Principal
) -> session_pb2.Opponent | None:
    """Find a promotion heard of earlier, of a model that this player has faced before.

    Having faced it proves that the player may see the model, which the event does not tell.
    """
    if wish.version_id:
        return None
    faced = (
        select(KnownPromotion, Session.styles)
        .join(Session, Session.model_id == KnownPromotion.model_id)
        .where(Session.owner_id == caller.user_id)
        .ext(distinct_on(KnownPromotion.model_id))
        .order_by(KnownPromotion.model_id, Session.create_time.desc())
    )
    if wish.model_id:
        faced = faced.where(KnownPromotion.model_id == wish.model_id)
    known = [row for row in await db.execute(faced) if _has_style(row.styles, wish.style)]
    if not known:
        return None
    promotion, styles = max(known, key=lambda row: row.KnownPromotion.promote_time)
    return session_pb2.Opponent(
        model_id=promotion.model_id,
        model_name=promotion.model_name,
        version_id=promotion.version_id,
        version_number=promotion.version_number,
        checkpoint_id=promotion.checkpoint_id,
        sha256=promotion.sha256,
        styles=styles,
        source=session_pb2.PIN_SOURCE_PROMOTION_EVENT,
    )


def _opponent(model: model_pb2.Model, version: model_pb2.Version) -> session_pb2.Opponent:
    return session_pb2.Opponent(
        model_id=model.id,
        model_name=model.name,
        version_id=version.id,
        version_number=version.number,
        checkpoint_id=version.checkpoint_id,
        sha256=version.artifact.sha256,
        styles=model.styles,
        source=session_pb2.PIN_SOURCE_REGISTRY,
    )
