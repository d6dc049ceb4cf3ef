"""Lists in pages by keyset: newest first, stable while rows come and go, counted in SQL."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from sqlalchemy import func, literal, select, tuple_

from kit import errors, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message
    from sqlalchemy import Select
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import InstrumentedAttribute

DEFAULT_SIZE = 50
MAX_SIZE = 200

Row = TypeVar("Row")
Item = TypeVar("Item")


class ListRequest(Protocol):
    """A request of a List RPC; its other fields are filters."""

    page_size: int
    page_token: str


async def list_page(
    session: AsyncSession,
    query: Select[Row],
    model: type[Any],
    request: ListRequest,
    *,
    convert: Callable[[Row], Item],
    by: InstrumentedAttribute[Any] | None = None,
    descending: bool = True,
) -> tuple[list[Item], str, int]:
    """Run `query` for the page that `request.page_size` and `request.page_token` ask for.

    `query` selects `model` with its filters and without an order. `by` is a column of it that
    holds whole numbers or moments and never NULL; by default, the newest come first. Returns the
    converted items, the token of the next page (empty on the last) and how many rows match in all.
    Raises INVALID_ARGUMENT for a size outside 0..200, and for a token not from this very list.
    """
    size = page_size(request.page_size)
    fingerprint = _fingerprint(cast("Message", request))
    count = select(func.count()).select_from(query.subquery())
    column = model.create_time if by is None else by
    if request.page_token:
        value, row_id = _decode(request.page_token, fingerprint)
        # Compared as what the columns are: Postgres finds no order between a UUID and a text.
        after = tuple_(literal(value, column.type), literal(row_id, model.id.type))
        position = tuple_(column, model.id)
        query = query.where(position < after if descending else position > after)
    keys = [key.desc() if descending else key.asc() for key in (column, model.id)]
    found = query.add_columns(count.scalar_subquery()).order_by(*keys).limit(size + 1)
    rows: Any = (await session.execute(found)).all()
    # Beyond the last page there is no row to bring the count along.
    total = rows[0][1] if rows else await session.scalar(count)
    token = ""
    if len(rows) > size:
        last = rows[size - 1][0]
        token = _encode(getattr(last, column.key), last.id, fingerprint)
    return [convert(row[0]) for row in rows[:size]], token, total or 0


def order(text: str, columns: Sequence[str], *, default: str) -> tuple[str, bool]:
    """Read an `order_by`; return the column's name and whether it descends.

    Raises INVALID_ARGUMENT for anything but one of `columns`, alone or followed by " desc".
    """
    column, _, direction = (text or default).partition(" ")
    if column not in columns or direction not in {"", "desc"}:
        choices = ", ".join(columns)
        raise errors.invalid_argument("order_by", f'must be one of {choices}, or with " desc"')
    return column, direction == "desc"


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


def _encode(key: datetime | int, row_id: str, fingerprint: str) -> str:
    spelled = key.isoformat() if isinstance(key, datetime) else key
    content = json.dumps([spelled, row_id, fingerprint], separators=(",", ":"))
    return base64.urlsafe_b64encode(content.encode()).decode()


def _decode(token: str, fingerprint: str) -> tuple[datetime | int, str]:
    try:
        key, row_id, issued_for = json.loads(base64.urlsafe_b64decode(token))
        if isinstance(key, str):
            key = datetime.fromisoformat(key)
        position = key, parse.uuid(row_id, "page_token")
    except (ValueError, TypeError, errors.RpcError) as error:
        raise _refused() from error
    # The list's order is among what the fingerprint covers, so the key has its column's type.
    if issued_for != fingerprint or not _is_key(key):
        raise _refused()
    return position


def _is_key(key: object) -> bool:
    if isinstance(key, datetime):
        return key.tzinfo is not None
    return isinstance(key, int) and not isinstance(key, bool) and abs(key) < 1 << 63


def _refused() -> errors.RpcError:
    return errors.invalid_argument(
        "page_token", "must be a next_page_token of this list", reason="INVALID_PAGE_TOKEN"
    )
