"""Lists in pages by keyset: newest first, stable while rows come and go, counted in SQL."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sqlalchemy import func, select, tuple_

from kit import errors, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstrumentedAttribute

DEFAULT_SIZE = 50
MAX_SIZE = 200

Row = TypeVar("Row")
Item = TypeVar("Item")


class Listed(Protocol):
    """A mapped class that can be listed."""

    id: InstrumentedAttribute[str]
    create_time: InstrumentedAttribute[datetime]


async def list_page(
    session: AsyncSession,
    query: Select[tuple[Row]],
    model: type[Any],
    request: Message,
    *,
    convert: Callable[[Row], Item],
) -> tuple[list[Item], str, int]:
    """Run `query` for the page that `request.page_size` and `request.page_token` ask for.

    `query` selects `model` with its filters and without an order. Returns the converted items,
    the token of the next page (empty on the last) and how many rows match in all. Raises
    INVALID_ARGUMENT for a size outside 0..200, and for a token that is not from this very list.
    """
    size = page_size(request.page_size)
    fingerprint = _fingerprint(request)
    total = await session.scalar(select(func.count()).select_from(query.subquery()))
    if request.page_token:
        after = _decode(request.page_token, fingerprint)
        query = query.where(tuple_(model.create_time, model.id) < tuple_(*after))
    ordered = query.order_by(model.create_time.desc(), model.id.desc()).limit(size + 1)
    rows = (await session.scalars(ordered)).all()
    token = ""
    if len(rows) > size:
        last: Any = rows[size - 1]
        token = _encode(last.create_time, last.id, fingerprint)
    return [convert(row) for row in rows[:size]], token, total or 0


def page_size(value: int) -> int:
    """Return how many items to send: 50 for 0; raise INVALID_ARGUMENT outside 0..200."""
    return parse.integer(value, "page_size", minimum=0, maximum=MAX_SIZE) or DEFAULT_SIZE


def _fingerprint(request: Message) -> str:
    """Digest the filters, so that a token is refused by a list with other filters."""
    filters = type(request)()
    filters.CopyFrom(request)
    filters.ClearField("page_size")
    filters.ClearField("page_token")
    content = request.DESCRIPTOR.full_name.encode() + filters.SerializeToString(deterministic=True)
    return hashlib.sha256(content).hexdigest()[:12]


def _encode(create_time: datetime, id: str, fingerprint: str) -> str:  # noqa: A002
    content = json.dumps([create_time.isoformat(), id, fingerprint], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def _decode(token: str, fingerprint: str) -> tuple[datetime, str]:
    try:
        create_time, row_id, issued_for = json.loads(base64.urlsafe_b64decode(token))
        position = datetime.fromisoformat(create_time), parse.uuid(row_id, "page_token")
    except (ValueError, TypeError, errors.RpcError) as error:
        raise _refused() from error
    if issued_for != fingerprint or position[0].tzinfo is None:
        raise _refused()
    return position


def _refused() -> errors.RpcError:
    return errors.invalid_argument(
        "page_token", "must be a next_page_token of this list", reason="INVALID_PAGE_TOKEN"
    )
