"""Find rows for the caller. What the caller may not know of does not exist for it.

A public model can be read by everybody who is signed in and changed by its owner alone; a private
one is its owner's. Checkpoints are their owner's, and whoever may read a model may read what its
versions publish. A worker reads for the user of its run, and its own run in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import or_, select, true

from kit import errors, parse
from kit.auth import principal
from services.registry.models.checkpoint import Checkpoint
from services.registry.models.model import Model, Version, stable_id_of

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncSession

    from kit.auth import Principal


def sees_all(caller: Principal) -> bool:
    """Say whether ownership limits the caller at all."""
    return caller.owns(None)


def visible_models() -> ColumnElement[bool]:
    """Return the SQL condition for models that the caller may read."""
    return or_(~Model.private, own_models())


def own_models() -> ColumnElement[bool]:
    """Return the SQL condition for models that belong to the caller."""
    caller = principal()
    if sees_all(caller):
        return true()
    return Model.owner_id == caller.user_id if caller.user_id else ~true()


def own_checkpoints() -> ColumnElement[bool]:
    """Return the SQL condition for checkpoints that belong to the caller."""
    caller = principal()
    if sees_all(caller):
        return true()
    return Checkpoint.owner_id == caller.user_id if caller.user_id else ~true()


async def model_to_read(session: AsyncSession, model_id: str, field: str = "id") -> Model:
    """Return a model that the caller may read; raises MODEL_NOT_FOUND."""
    model = await session.get(Model, parse.uuid(model_id, field))
    if model is None or model.delete_time or not _is_visible(model):
        raise errors.not_found("model", model_id)
    return model


async def model_to_change(
    session: AsyncSession, model_id: str, field: str = "id", *, deleted: bool = False
) -> Model:
    """Return a model of the caller's, locked; raises MODEL_NOT_FOUND or NOT_YOUR_MODEL."""
    model = await session.get(Model, parse.uuid(model_id, field), with_for_update=True)
    if model is None or not _is_visible(model):
        raise errors.not_found("model", model_id)
    check_owner(model)
    if model.delete_time and not deleted:
        raise errors.not_found("model", model_id)
    return model


async def version_to_read(session: AsyncSession, version_id: str) -> Version:
    """Return a version of a model that the caller may read; raises VERSION_NOT_FOUND."""
    version = await session.get(Version, parse.uuid(version_id, "id"))
    if version is None or version.model.delete_time or not _is_visible(version.model):
        raise errors.not_found("version", version_id)
    return version


async def version_to_change(session: AsyncSession, version_id: str) -> Version:
    """Return a version of the caller's, its model locked, as it is now that the lock is held."""
    version = await version_to_read(session, version_id)
    check_owner(version.model)
    await session.refresh(version.model, with_for_update=True)
    found = await session.get(Version, version.id, populate_existing=True)
    if found is None or found.model.delete_time:
        raise errors.not_found("version", version_id)
    return found


async def checkpoint_to_read(session: AsyncSession, checkpoint_id: str) -> Checkpoint:
    """Return a checkpoint that the caller may read; raises CHECKPOINT_NOT_FOUND."""
    checkpoint = await session.get(Checkpoint, parse.uuid(checkpoint_id, "id"))
    if checkpoint is None or not await _may_read(session, checkpoint):
        raise errors.not_found("checkpoint", checkpoint_id)
    return checkpoint


async def own_checkpoint(
    session: AsyncSession, checkpoint_id: str, field: str = "id"
) -> Checkpoint:
    """Return a checkpoint of the caller's, unlocked; raises CHECKPOINT_NOT_FOUND."""
    checkpoint = await session.get(Checkpoint, parse.uuid(checkpoint_id, field))
    if checkpoint is None or not _is_own(checkpoint):
        raise errors.not_found("checkpoint", checkpoint_id)
    return checkpoint


async def locked_checkpoint(session: AsyncSession, checkpoint: Checkpoint) -> Checkpoint:
    """Lock a checkpoint and return it as it is now; raises CHECKPOINT_NOT_FOUND.

    Locks are taken in this order, so that nobody waits in a circle: model, claim of the run,
    digest of the file, checkpoint.
    """
    found = await session.get(
        Checkpoint, checkpoint.id, with_for_update={"of": Checkpoint}, populate_existing=True
    )
    if found is None:
        raise errors.not_found("checkpoint", checkpoint.id)
    return found


def _is_visible(model: Model) -> bool:
    return not model.private or principal().owns(model.owner_id)


def check_owner(model: Model) -> None:
    """Raise NOT_YOUR_MODEL when the caller may read a model and not change it."""
    if not principal().owns(model.owner_id):
        raise errors.permission_denied(
            f"model {model.name} belongs to somebody else", reason="NOT_YOUR_MODEL", id=model.id
        )


def _is_own(checkpoint: Checkpoint) -> bool:
    caller = principal()
    if caller.kind == "worker":
        return checkpoint.run_id == caller.run_id
    return caller.owns(checkpoint.owner_id)


async def _may_read(session: AsyncSession, checkpoint: Checkpoint) -> bool:
    if _is_own(checkpoint) or principal().owns(checkpoint.owner_id):
        return True
    published = (
        select(Version.id)
        .join(Version.model)
        .where(
            Version.checkpoint_id == checkpoint.id, Model.delete_time.is_(None), visible_models()
        )
    )
    return await session.scalar(published.limit(1)) is not None


async def check_not_raced(session: AsyncSession, model: Model, seen: str | None) -> None:
    """Raise PROMOTION_RACED when the stable version is not `seen` now that the model is locked."""
    current = await stable_id_of(session, model.id)
    if current != seen:
        raise errors.aborted(
            f"the stable version of {model.name} has changed meanwhile",
            reason="PROMOTION_RACED",
            stable_version_id=current or "",
        )
