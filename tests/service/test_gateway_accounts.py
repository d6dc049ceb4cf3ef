"""Accounts: signing up and in, sessions, roles, and what brute force meets."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import psycopg
import pytest
from elodrome.accounts.v1 import account_service_pb2, account_service_pb2_grpc
from sqlalchemy import event, select

from services.gateway import bootstrap
from services.gateway.models.user import User
from tests.gateway import PASSWORD, Client, Environment, Gateway, running_gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

ME = "/api/v1/auth/me"


@pytest.fixture
async def gateway(service_environment: Environment) -> AsyncIterator[Gateway]:
    async with running_gateway(service_environment("gateway")) as gateway:
        yield gateway


async def login(
    gateway: Gateway, name: str, password: str = PASSWORD, **more: Any
) -> httpx.Response:
    body = {"email": name, "password": password}
    return await gateway.http.post("/api/v1/auth/login", json=body, **more)


async def test_registering_then_signing_in_gives_a_token_that_works(gateway: Gateway) -> None:
    session = await gateway.register("ada", full_name="Ada L.")
    assert session["user"]["role"] == "USER"
    assert session["user"]["username"] == "ada"
    again = await gateway.http.post(
        "/api/v1/auth/register", json={"email": "ADA@example.org", "password": PASSWORD}
    )
    assert (again.status_code, again.json()["error"]["reason"]) == (409, "EMAIL_TAKEN")
    for name in ("ada@example.org", "Ada"):
        answer = await login(gateway, name)
        assert answer.status_code == 200
        gateway.http.cookies.clear()
        me = await Client(gateway, answer.json())("GET", "/users/me")
        assert me.json()["full_name"] == "Ada L."
        assert me.json()["last_login_time"]


@pytest.mark.parametrize("field", [{"role": "ADMIN"}, {"is_active": True}, {"id": "x"}])
async def test_registering_cannot_choose_what_the_install_decides(
    gateway: Gateway, field: Any
) -> None:
    body = {"email": "eve@example.org", "password": PASSWORD, **field}
    answer = await gateway.http.post("/api/v1/auth/register", json=body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == next(iter(field))
    async with gateway.running.context.sessions() as session:
        assert (await session.scalars(select(User))).all() == []


async def test_a_password_is_stored_as_argon2id_alone(gateway: Gateway) -> None:
    await gateway.register("ada")
    async with gateway.running.context.sessions() as session:
        user = await session.scalar(select(User))
    assert user.password_hash.startswith("$argon2id$")
    assert PASSWORD not in user.password_hash


async def test_unknown_and_known_accounts_are_refused_alike_and_slowed_down(
    gateway: Gateway,
) -> None:
    await gateway.register("ada")
    answers = {}
    for name in ("ada@example.org", "nobody@example.org"):
        tries = [await login(gateway, name, "wrong password") for _ in range(6)]
        assert [answer.status_code for answer in tries] == [401] * 5 + [429]
        assert 1 <= int(tries[-1].headers["retry-after"]) <= 60
        answers[name] = [
            {k: v for k, v in answer.json()["error"].items() if k not in {"request_id", "details"}}
            for answer in tries
        ]
    assert answers["ada@example.org"] == answers["nobody@example.org"]


async def test_a_volley_of_guesses_counts_in_full(gateway: Gateway) -> None:
    await gateway.register("ada")
    answers = await asyncio.gather(*(login(gateway, "ada", f"wrong {n} xx") for n in range(20)))
    assert sum(answer.status_code == 401 for answer in answers) == 5
    assert sum(answer.status_code == 429 for answer in answers) == 15


async def test_failures_of_one_address_slow_down_that_address(
    service_environment: Environment,
) -> None:
    limits = {"login_failures_per_minute_address": 4}
    async with running_gateway(service_environment("gateway"), **limits) as gateway:
        tries = [await login(gateway, f"n{n}@example.org", "wrong password") for n in range(5)]
        assert [answer.status_code for answer in tries] == [401] * 4 + [429]


async def test_twenty_failures_lock_the_account_until_the_lock_ends(
    service_environment: Environment,
) -> None:
    limits = {
        "login_failures_per_minute_account": 100,
        "lockout_failures": 4,
        "lockout_s": 2,
    }
    async with running_gateway(service_environment("gateway"), **limits) as gateway:
        await gateway.register("ada")
        for _ in range(4):
            assert (await login(gateway, "ada", "wrong password")).status_code == 401
        locked = await login(gateway, "ada")
        assert (locked.status_code, locked.json()["error"]["reason"]) == (429, "ACCOUNT_LOCKED")

        async def opens() -> bool:
            return (await login(gateway, "ada")).status_code == 200

        await eventually(opens, within_s=20)
        assert (await login(gateway, "ada", "wrong password")).status_code == 401


async def test_registrations_from_one_address_are_limited(service_environment: Environment) -> None:
    limits = {"registrations_per_hour_address": 2}
    async with running_gateway(service_environment("gateway"), **limits) as gateway:
        await gateway.register("a1")
        await gateway.register("a2")
        body = {"email": "a3@example.org", "password": PASSWORD}
        answer = await gateway.http.post("/api/v1/auth/register", json=body)
        assert answer.json()["error"]["reason"] == "TOO_MANY_REGISTRATIONS"
        assert int(answer.headers["retry-after"]) > 0


async def test_the_cookie_is_http_only_and_works_as_a_bearer_token(gateway: Gateway) -> None:
    await gateway.register("ada")
    answer = await login(gateway, "ada")
    cookies = answer.headers.get_list("set-cookie")
    token = next(c for c in cookies if c.startswith("elodrome_token="))
    assert "HttpOnly" in token
    assert "SameSite=Lax" in token
    assert "Secure" not in token
    assert (await gateway.http.get(ME)).status_code == 200
    value = gateway.http.cookies["elodrome_token"]
    gateway.http.cookies.clear()
    headers = {"authorization": f"Bearer {value}"}
    assert (await gateway.http.get(ME, headers=headers)).status_code == 200


async def test_cookies_are_secure_where_the_site_is(service_environment: Environment) -> None:
    chosen = {"public_url": "https://elodrome.example"}
    async with running_gateway(service_environment("gateway"), **chosen) as gateway:
        await gateway.register("ada")
        cookies = (await login(gateway, "ada")).headers.get_list("set-cookie")
        assert len(cookies) == 2
        assert all("Secure" in cookie for cookie in cookies)


async def test_after_signing_out_neither_cookie_nor_token_works(gateway: Gateway) -> None:
    session = await gateway.register("ada")
    ada = Client(gateway, session)
    assert (await ada("POST", "/auth/logout")).json() == {"ok": True}
    assert (await ada("GET", "/auth/me")).status_code == 401
    assert (await ada("GET", "/api-keys")).status_code == 401
    refresh = {"refresh_token": session["refresh_token"]}
    assert (await gateway.http.post("/api/v1/auth/refresh", json=refresh)).status_code == 401


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(gateway: Gateway) -> None:
    first = await gateway.register("ada")
    refresh = {"refresh_token": first["refresh_token"]}
    second = await gateway.http.post("/api/v1/auth/refresh", json=refresh)
    assert second.status_code == 200
    gateway.http.cookies.clear()
    renewed = Client(gateway, second.json())
    assert (await renewed("GET", "/auth/me")).status_code == 200
    stolen = await gateway.http.post("/api/v1/auth/refresh", json=refresh)
    assert (stolen.status_code, stolen.json()["error"]["reason"]) == (401, "REFRESH_TOKEN_REUSED")
    assert (await renewed("GET", "/auth/me")).status_code == 401
    latest = {"refresh_token": second.json()["refresh_token"]}
    assert (await gateway.http.post("/api/v1/auth/refresh", json=latest)).status_code == 401


async def test_a_browser_refreshes_by_its_cookie(gateway: Gateway) -> None:
    await gateway.register("ada")
    await login(gateway, "ada")
    headers = {"origin": gateway.url}
    answer = await gateway.http.post("/api/v1/auth/refresh", headers=headers)
    assert answer.status_code == 200
    assert (await gateway.http.get(ME)).status_code == 200


async def test_a_token_expires_when_it_says_and_refreshing_gives_a_new_one(
    service_environment: Environment,
) -> None:
    async with running_gateway(service_environment("gateway"), access_token_ttl_s=1) as gateway:
        session = await gateway.register("ada")
        ada = Client(gateway, session)

        async def refused() -> bool:
            return (await ada("GET", "/users/me")).status_code == 401

        await eventually(refused, within_s=15)
        refresh = {"refresh_token": session["refresh_token"]}
        renewed = await gateway.http.post("/api/v1/auth/refresh", json=refresh)
        gateway.http.cookies.clear()
        assert (await Client(gateway, renewed.json())("GET", "/users/me")).status_code == 200


async def test_a_profile_is_edited_by_put_and_patch(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    before = (await ada("GET", "/users/me")).json()
    after = (await ada("PUT", "/users/me", {"full_name": "Ada Lovelace"})).json()
    assert after["full_name"] == "Ada Lovelace"
    assert after["update_time"] > before["update_time"]
    await gateway.register("bob")
    taken = await ada("PATCH", "/users/me", {"username": "BOB"})
    assert (taken.status_code, taken.json()["error"]["field"]) == (409, "username")
    assert (await ada("GET", "/users/me")).json()["username"] == "ada"


async def test_a_new_password_ends_the_other_sessions(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    other = Client(gateway, (await login(gateway, "ada")).json())
    gateway.http.cookies.clear()
    change = {"password": "another password", "current_password": "not this one"}
    wrong = await ada("PATCH", "/users/me", change)
    assert wrong.json()["error"]["reason"] == "WRONG_PASSWORD"
    assert (await ada("PATCH", "/users/me", {**change, "current_password": PASSWORD})).is_success
    assert (await other("GET", "/users/me")).status_code == 401
    assert (await ada("GET", "/users/me")).status_code == 200
    assert (await login(gateway, "ada", "another password")).status_code == 200


async def test_deactivation_acts_within_a_second_on_tokens_keys_and_sign_in(
    gateway: Gateway,
) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    ada = await gateway.sign_in("ada")
    made = await ada("POST", "/api-keys", {"name": "ci", "scopes": ["READ"]})
    key = {"authorization": f"Bearer {made.json()['secret']}"}
    assert (await gateway.http.get(ME, headers=key)).status_code == 200
    stub = account_service_pb2_grpc.AccountServiceStub(gateway.running.channel)
    # By gRPC, past this edge: nothing tells it but the database.
    await stub.UpdateUser(
        account_service_pb2.UpdateUserRequest(id=ada.id, is_active=False),
        metadata=list(root.headers.items()),
    )

    async def is_out() -> bool:
        answers = [await ada("GET", "/users/me"), await gateway.http.get(ME, headers=key)]
        return [answer.status_code for answer in answers] == [401, 401]

    # A second is promised; the rest is room for a busy machine.
    await eventually(is_out, within_s=10)
    assert (await login(gateway, "ada")).status_code == 401


async def test_a_role_changes_within_a_second(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    ada = await gateway.sign_in("ada")
    assert (await ada("GET", "/users")).status_code == 403
    assert (await root("PATCH", f"/users/{ada.id}", {"role": "OPERATOR"})).is_success
    assert (await ada("GET", "/users")).status_code == 200


async def test_the_last_admin_stays(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    for change in ({"role": "USER"}, {"is_active": False}):
        refused = await root("PATCH", f"/users/{root.id}", change)
        assert (refused.status_code, refused.json()["error"]["reason"]) == (409, "LAST_ADMIN")
    spare = await gateway.sign_in("spare", role="ADMIN")
    assert (await root("PATCH", f"/users/{spare.id}", {"role": "USER"})).is_success


@pytest.mark.parametrize("role", ["USER", "VIEWER", "PLAYER"])
async def test_people_without_the_role_are_refused_admin_routes(
    gateway: Gateway, role: str
) -> None:
    person = await gateway.sign_in("ada", role=role)
    for method, path in (("GET", "/users"), ("GET", "/audit"), ("PATCH", f"/users/{person.id}")):
        assert (await person(method, path)).status_code == 403, path


async def test_users_are_listed_in_pages_and_filtered(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    for n in range(5):
        await gateway.register(f"user{n}")
    seen, token = [], ""
    while True:
        page = await root("GET", "/users", params={"page_size": 2, "page_token": token})
        seen += [user["username"] for user in page.json()["items"]]
        token = page.json()["next_page_token"]
        if not token:
            break
    assert seen == ["user4", "user3", "user2", "user1", "user0", "root"]
    found = await root("GET", "/users", params={"query": "USER3", "role": "USER"})
    assert [user["username"] for user in found.json()["items"]] == ["user3"]
    assert found.json()["total"] == 1
    for size in ("-1", "201", "1000000000"):
        assert (await root("GET", "/users", params={"page_size": size})).status_code == 422


async def test_fifty_registrations_of_one_address_make_one_account(gateway: Gateway) -> None:
    body = {"email": "ada@example.org", "password": PASSWORD}
    calls = (gateway.http.post("/api/v1/auth/register", json=body) for _ in range(12))
    statuses = sorted(answer.status_code for answer in await asyncio.gather(*calls))
    assert statuses == [201] + [409] * 11


async def test_the_admin_of_an_install_is_made_once(gateway: Gateway) -> None:

    async def ensure(password: str) -> str:
        url = gateway.settings.database_url
        return await bootstrap.ensure_admin(url, "admin@example.org", password, memory_kib=64)

    assert await ensure(PASSWORD) == "created"
    assert await ensure(PASSWORD) == "unchanged"
    session = (await login(gateway, "admin")).json()
    gateway.http.cookies.clear()
    assert session["user"]["role"] == "ADMIN"
    assert await ensure("a new password") == "updated"
    assert (await login(gateway, "admin", "a new password")).status_code == 200


async def test_create_and_get_give_equal_json_through_rest_and_grpc(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    stub = account_service_pb2_grpc.AccountServiceStub(gateway.running.channel)
    by_grpc = await stub.GetMe(
        account_service_pb2.GetMeRequest(), metadata=list(ada.headers.items())
    )
    by_rest = (await ada("GET", "/users/me")).json()
    assert by_rest["id"] == by_grpc.id
    assert by_rest["create_time"] == by_grpc.create_time.ToJsonString()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Register(account_service_pb2.RegisterRequest(email="nope"))
    answer = await gateway.http.post("/api/v1/auth/register", json={"email": "nope"})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"]) == (422, "email")
    assert (error["code"], error["message"]) == (
        refused.value.code().name,
        refused.value.details(),
    )


async def test_a_database_that_is_gone_is_a_503_that_says_so(gateway: Gateway) -> None:
    engine = gateway.running.context.engine
    await engine.dispose()
    event.listen(engine.sync_engine, "do_connect", _refuse)
    answer = await login(gateway, "ada")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
    assert int(answer.headers["retry-after"]) >= 1


def _refuse(*_: object) -> None:
    raise psycopg.OperationalError("connection refused")
