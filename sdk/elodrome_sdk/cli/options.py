"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elodrome_sdk.errors import ApiError

if TYPE_CHECKING:
    from elodrome_sdk.client import Client

PageSize = Annotated[int, typer.Option("--limit", help="How many to show, 1 to 200.")]
PageToken = Annotated[str, typer.Option("--page", help="Token of the page to show.")]

_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def parse_setting(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE; the value is JSON where it parses as JSON, else text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE, such as learning_rate=0.001")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parse_object(text: str, option: str) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{option}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f'{option}: must be a JSON object, such as {{"hit": true}}')
    return value


def resolve_name(client: Client, path: str, noun: str, name_or_id: str) -> str:
    """Return the id of a thing that is given by id or by its unique name."""
    if is_id(name_or_id):
        return name_or_id
    found = client.get(path, name=name_or_id)["items"]
    if not found:
        raise _not_found(noun, name_or_id)
    return found[0]["id"]


def _not_found(noun: str, name: str) -> ApiError:
    body = {
        "code": "NOT_FOUND",
        "reason": f"{noun.upper()}_NOT_FOUND",
        "message": f"no {noun} is named {name!r}",
    }
    return ApiError(404, body)


def resolve_agent(client: Client, name_or_id: str, game: str = "") -> str:
    """Return the id of an agent given by id or name: the caller's own, else the only one there is.

    Names are unique for each owner and game only.
    """
    if is_id(name_or_id):
        return name_or_id
    for mine in (True, None):
        found = client.get("/agents", name=name_or_id, game=game, mine=mine)["items"]
        if len(found) > 1:
            ids = ", ".join(f"{agent['id']} ({agent['game']})" for agent in found)
            raise typer.BadParameter(f"{len(found)} agents are named {name_or_id!r}: {ids}")
        if found:
            return found[0]["id"]
    raise _not_found("agent", name_or_id)


def resolve_version(client: Client, reference: str) -> str:
    """Return the id of a version given by id or as NAME@ALIAS or NAME@NUMBER."""
    if is_id(reference):
        return reference
    return client.get("/versions:resolve", reference=reference)["id"]


def is_id(text: str) -> bool:
    """Say whether a text looks like a UUID."""
    return _UUID.fullmatch(text) is not None
