"""API keys: shown once, limited to their scopes, gone within a second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from services.gateway.models.api_key import ApiKey
from tests.gateway import Client, Environment, Gateway, running_gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def gateway(service_environment: Environment) -> AsyncIterator[Gateway]:
    async with running_gateway(service_environment("gateway")) as gateway:
        yield gateway


def bearer(key: Any) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


async def make(client: Client, **fields: Any) -> tuple[dict[str, Any], str]:
    answer = await client("POST", "/api-keys", {"name": "ci", "scopes": ["READ"], **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["api_key"], answer.json()["secret"]


async def test_a_key_is_shown_once_works_and_notes_its_use(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    record, key = await make(ada)
    assert key.startswith(record["prefix"])
    me = await gateway.http.get("/api/v1/auth/me", headers=bearer(key))
    assert me.json()["id"] == ada.id
    listed = await ada("GET", "/api-keys")
    assert listed.json()["total"] == 1
    assert key not in listed.text

    async def used() -> Any:
        return (await ada("GET", "/api-keys")).json()["items"][0]["last_used_time"]

    await eventually(used, within_s=20)
    async with gateway.running.context.sessions() as session:
        row = await session.scalar(select(ApiKey))
    assert key not in {row.key_hash, row.prefix}
    assert len(row.key_hash) == 64


async def test_a_revoked_key_stops_at_once_and_stays_listed(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    record, key = await make(ada)
    assert (await gateway.http.get("/api/v1/auth/me", headers=bearer(key))).status_code == 200
    assert (await ada("DELETE", f"/api-keys/{record['id']}")).json()["is_active"] is False
    assert (await gateway.http.get("/api/v1/auth/me", headers=bearer(key))).status_code == 401
    inactive = await ada("GET", "/api-keys", params={"is_active": "false"})
    assert inactive.json()["total"] == 1


async def test_a_key_expires(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    past = datetime.now(UTC) - timedelta(seconds=1)
    refused = await ada(
        "POST", "/api-keys", {"name": "x", "scopes": ["READ"], "expire_time": past.isoformat()}
    )
    assert refused.json()["error"]["field"] == "expire_time"
    soon = datetime.now(UTC) + timedelta(seconds=2)
    _, key = await make(ada, expire_time=soon.isoformat())

    async def refused_now() -> bool:
        return (await gateway.http.get("/api/v1/auth/me", headers=bearer(key))).status_code == 401

    await eventually(refused_now, within_s=20)


async def test_a_key_does_what_its_scopes_say(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    _, key = await make(ada)
    headers = bearer(key)
    assert (await gateway.http.get("/api/v1/api-keys", headers=headers)).status_code == 200
    for method, path in (("POST", "/api-keys"), ("PATCH", "/users/me")):
        answer = await gateway.http.request(method, f"/api/v1{path}", headers=headers, json={})
        assert answer.status_code == 403
        assert answer.json()["error"]["reason"] == "SCOPE_MISSING"


async def test_a_key_cannot_make_a_key_that_may_do_more(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    _, key = await make(ada, scopes=["ADMIN"])
    body = {"name": "more", "scopes": ["ADMIN", "TRAIN"]}
    answer = await gateway.http.post("/api/v1/api-keys", headers=bearer(key), json=body)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "SCOPE_NOT_HELD")


async def test_keys_of_others_are_neither_seen_nor_revoked(gateway: Gateway) -> None:
    ada, bob = await gateway.sign_in("ada"), await gateway.sign_in("bob")
    record, key = await make(ada)
    assert (await bob("GET", "/api-keys")).json()["total"] == 0
    assert (await bob("GET", "/api-keys", params={"owner_id": ada.id})).status_code == 403
    assert (await bob("DELETE", f"/api-keys/{record['id']}")).status_code == 404
    assert (await gateway.http.get("/api/v1/auth/me", headers=bearer(key))).status_code == 200


@pytest.mark.parametrize(
    "body", [{"name": "x"}, {"name": "x", "scopes": []}, {"name": "", "scopes": ["READ"]}]
)
async def test_a_key_without_name_or_scope_is_refused(gateway: Gateway, body: Any) -> None:
    ada = await gateway.sign_in("ada")
    assert (await ada("POST", "/api-keys", body)).status_code == 422
    assert (await ada("GET", "/api-keys")).json()["total"] == 0


async def test_broken_keys_and_keys_in_the_query_are_refused(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    _, key = await make(ada)
    for value in (key[:-1], "elo_", "elo_" + "x" * 5000, key.upper()):
        answer = await gateway.http.get("/api/v1/auth/me", headers=bearer(value))
        assert answer.status_code == 401, value[:20]
    for name in ("key", "token", "api_key", "access_token", "ticket"):
        answer = await gateway.http.get("/api/v1/auth/me", params={name: key})
        assert answer.status_code == 401, name
