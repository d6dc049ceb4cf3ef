"""The edge itself: limits, origins, headers, repeated requests and the audit record."""

from __future__ import annotations

import asyncio
import json
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import func, select, text

from deploy.laptop.ports import free_port
from kit.rpc import rpcs_open
from services.gateway.models.api_key import ApiKey
from services.gateway.models.audit_entry import AuditEntry
from tests.gateway import PASSWORD, Environment, Gateway, running_gateway
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEYS = "/api/v1/api-keys"


@pytest.fixture
async def gateway(service_environment: Environment) -> AsyncIterator[Gateway]:
    async with running_gateway(service_environment("gateway")) as gateway:
        yield gateway


async def raw(gateway: Gateway, head: str, body: Any = b"") -> tuple[int, bytes]:
    """Send bytes as they are and return the answer's status and body."""
    host, port = gateway.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.replace("\n", "\r\n").encode() + b"\r\n" + body)
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    rest = await reader.read(65536)
    writer.close()
    return status, rest


async def test_every_answer_has_the_security_headers_and_a_request_id(gateway: Gateway) -> None:
    for path in ("/", "/docs", "/api/v1/version", "/api/v1/users", "/nowhere"):
        answer = await gateway.http.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-request-id"]
        if path != "/nowhere":
            assert "content-security-policy" in answer.headers
    assert "server" not in answer.headers


async def test_a_sane_request_id_is_kept_and_a_strange_one_replaced(gateway: Gateway) -> None:
    for given, kept in (("trace-0123456789", True), ("a b", False), ("x" * 300, False)):
        answer = await gateway.http.get("/api/v1/users", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) == kept
        assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]


async def test_methods_and_paths_that_do_not_exist_say_so(gateway: Gateway) -> None:
    missing = await gateway.http.get("/api/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "NOT_FOUND")
    wrong = await gateway.http.delete("/api/v1/version")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    head = await gateway.http.head("/api/v1/version")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    options = await gateway.http.options("/api/v1/version")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


async def test_the_version_is_the_distribution_s(gateway: Gateway) -> None:

    answer = await gateway.http.get("/api/v1/version")
    assert answer.json()["version"] == version("elodrome")


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (b"{", 422, "BAD_JSON"),
        (b'{"email": "\xff"}', 422, "BAD_JSON"),
        (b"[" * 100_000, 422, "BAD_JSON"),
        (b'{"email": ' + b"[" * 40 + b"]" * 40 + b"}", 422, "TOO_DEEP"),
        (b'{"email": "' + b"a" * 1_100_000 + b'"}', 413, "TOO_LARGE"),
        (b'{"email": 7}', 422, "WRONG_TYPE"),
    ],
)
async def test_a_body_that_breaks_a_limit_is_refused(
    gateway: Gateway, content: bytes, status: int, reason: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = await gateway.http.post("/api/v1/auth/login", content=content, headers=headers)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason)


async def test_a_form_is_not_json(gateway: Gateway) -> None:
    answer = await gateway.http.post("/api/v1/auth/login", data={"email": "ada"})
    assert answer.status_code == 415


async def test_a_body_without_a_length_is_refused(gateway: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"{}"

    headers = {"content-type": "application/json"}
    answer = await gateway.http.post("/api/v1/auth/login", content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (411, "LENGTH_REQUIRED")


async def test_a_sender_that_falls_silent_is_timed_out(service_environment: Environment) -> None:
    async with running_gateway(service_environment("gateway"), body_timeout_s=0.3) as gateway:
        head = "POST /api/v1/auth/login HTTP/1.1\nHost: x\nContent-Length: 10\n"
        status, rest = await raw(gateway, head, b"{")
        assert status == 408
        assert b"BODY_TIMEOUT" in rest


async def test_huge_headers_are_cut_off(gateway: Gateway) -> None:
    head = "GET / HTTP/1.1\nHost: x\nX-Big: " + "a" * 40_000 + "\n"
    assert (await raw(gateway, head))[0] == 400


@pytest.mark.parametrize("path", ["..%2fetc", "%252e%252e", "..%5c", "a%00b", "x" * 300, "%2e%2e"])
async def test_ids_that_try_to_escape_are_refused(gateway: Gateway, path: Any) -> None:
    status, rest = await raw(
        gateway, f"GET /api/v1/runs/{path} HTTP/1.1\nHost: x\nConnection: close\n"
    )
    assert status == 400
    assert b"BAD_PATH" in rest


async def test_unknown_query_fields_and_bad_values_name_the_field(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    cases = {"nope=1": "nope", "page_size=x": "page_size", "is_active=1": "is_active"}
    for query, field in cases.items():
        answer = await root("GET", f"/users?{query}")
        assert (answer.status_code, answer.json()["error"]["field"]) == (422, field)
    assert (await root("GET", "/users?query=%ff")).status_code == 422


async def test_foreign_pages_cannot_use_the_cookie(gateway: Gateway) -> None:
    await gateway.register("ada")
    body = {"email": "ada", "password": PASSWORD}
    assert (await gateway.http.post("/api/v1/auth/login", json=body)).is_success
    make = {"name": "x", "scopes": ["READ"]}
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {},
    ):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            path = {"POST": KEYS, "DELETE": f"{KEYS}/x"}.get(method, "/api/v1/users/me")
            answer = await gateway.http.request(method, path, json=make, headers=headers)
            assert answer.status_code == 403, (method, headers)
            assert answer.json()["error"]["reason"] == "CROSS_SITE"
    for headers in ({"origin": gateway.url}, {"sec-fetch-site": "same-origin"}):
        assert (await gateway.http.post(KEYS, json=make, headers=headers)).status_code == 201
    foreign = {"origin": "https://evil.example"}
    assert (
        await gateway.http.post("/api/v1/auth/login", json=body, headers=foreign)
    ).status_code == 403


async def test_only_listed_origins_are_answered_across_sites(
    service_environment: Environment,
) -> None:
    chosen = {"cors_origins": "https://app.example, https://two.example"}
    async with running_gateway(service_environment("gateway"), **chosen) as gateway:
        ask = {"access-control-request-method": "GET"}
        good = {"origin": "https://app.example", **ask}
        allowed = await gateway.http.options("/api/v1/users", headers=good)
        assert allowed.headers["access-control-allow-origin"] == "https://app.example"
        assert "authorization" in allowed.headers["access-control-allow-headers"]
        bad = {"origin": "https://evil.example", **ask}
        refused = await gateway.http.options("/api/v1/users", headers=bad)
        assert "access-control-allow-origin" not in refused.headers


async def test_a_repeated_key_acts_once_and_answers_the_same(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    make = {"name": "x", "scopes": ["READ"]}
    headers = {"idempotency-key": "order-1"}
    first = await ada("POST", "/api-keys", make, headers=headers)
    again = await ada("POST", "/api-keys", make, headers=headers)
    assert again.status_code == first.status_code == 201
    assert again.json()["api_key"] == first.json()["api_key"]
    assert again.headers["idempotency-replayed"] == "true"
    # What is shown once is not shown again.
    assert "secret" not in again.json()
    other = await ada("POST", "/api-keys", {**make, "name": "y"}, headers=headers)
    assert (other.status_code, other.json()["error"]["reason"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert (await ada("GET", "/api-keys")).json()["total"] == 1
    bob = await gateway.sign_in("bob")
    assert (await bob("POST", "/api-keys", make, headers=headers)).status_code == 201


async def test_parallel_repeats_act_once(gateway: Gateway) -> None:
    ada = await gateway.sign_in("ada")
    make = {"name": "x", "scopes": ["READ"]}
    headers = {"idempotency-key": "order-2"}
    calls = (ada("POST", "/api-keys", make, headers=headers) for _ in range(10))
    answers = await asyncio.gather(*calls)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert any(answer.status_code == 201 for answer in answers)
    async with gateway.running.context.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(ApiKey)) == 1
    busy = [answer for answer in answers if answer.status_code == 409]
    assert all(answer.headers["retry-after"] == "1" for answer in busy)


async def test_every_mutation_is_recorded_with_before_and_after(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    ada = await gateway.sign_in("ada")
    await root("PATCH", f"/users/{ada.id}", {"full_name": "Ada"})
    made = await ada("POST", "/api-keys", {"name": "x", "scopes": ["READ"]})
    await ada("POST", "/api-keys", {"name": ""})
    await ada("PATCH", "/users/me", {"full_name": "Countess"})
    await ada("GET", "/users/me")
    listed = (await root("GET", "/audit", params={"page_size": 200})).json()
    entries = {(e["action"].rpartition("/")[2], e["http_status"]): e for e in listed["items"]}
    changed = entries["UpdateUser", 200]
    assert (changed["actor_id"], changed["resource_type"]) == (root.id, "users")
    assert changed["resource_id"] == ada.id
    assert changed["before"]["full_name"] == ""
    assert changed["after"]["full_name"] == "Ada"
    assert changed["ip_address"] == "127.0.0.1"
    created = entries["CreateApiKey", 201]
    assert created["resource_id"] == made.json()["api_key"]["id"]
    assert created["request_id"] == made.headers["x-request-id"]
    assert entries["CreateApiKey", 422]["reason"] == "INVALID_FIELD"
    assert entries["UpdateMe", 200]["before"]["full_name"] == "Ada"
    assert not any(action.startswith(("Get", "List")) for action, _ in entries)
    everything = json.dumps(listed)
    assert made.json()["secret"] not in everything
    assert ada.session["access_token"] not in everything
    assert PASSWORD not in everything
    assert (await ada("GET", "/audit")).status_code == 403


async def test_the_record_is_filtered_and_cannot_be_changed(gateway: Gateway) -> None:
    root = await gateway.sign_in("root", role="ADMIN")
    ada = await gateway.sign_in("ada")
    for n in range(3):
        await ada("PATCH", "/users/me", {"full_name": f"n{n}"})
    filters = {"actor_id": ada.id, "action": "UpdateMe", "succeeded": "true"}
    found = (await root("GET", "/audit", params=filters)).json()
    assert found["total"] == 3
    assert [e["after"]["full_name"] for e in found["items"]] == ["n2", "n1", "n0"]
    newest = found["items"][0]["create_time"]
    assert (await root("GET", "/audit", params={**filters, "before_time": newest})).json()[
        "total"
    ] == 2
    assert (await root("GET", "/audit", params={**filters, "action": "eMe"})).json()["total"] == 0
    for change in ("UPDATE audit_entries SET reason = 'x'", "DELETE FROM audit_entries"):
        async with gateway.running.context.sessions() as session:
            with pytest.raises(Exception, match="never changed"):
                await session.execute(text(change))
    async with gateway.running.context.sessions() as session:
        assert await session.scalar(select(func.count()).select_from(AuditEntry)) >= 3


async def test_one_quota_holds_across_replicas_sessions_and_keys(
    service_environment: Environment,
) -> None:
    environment = service_environment("gateway")
    limits = {"requests_per_minute": 40}
    async with (
        running_gateway(environment, **limits) as one,
        running_gateway(environment, **limits) as two,
    ):
        ada = await one.sign_in("ada")
        made = await ada("POST", "/api-keys", {"name": "x", "scopes": ["READ"]})
        key = {"authorization": f"Bearer {made.json()['secret']}"}
        answers = []
        for n in range(30):
            answers.append(await ada("GET", "/users/me"))
            headers = key if n % 2 else ada.headers
            answers.append(await two.http.get("/api/v1/users/me", headers=headers))
        allowed = sum(answer.status_code == 200 for answer in answers)
        refused = [answer for answer in answers if answer.status_code == 429]
        # A minute may turn while the test runs; then a second quota is granted.
        assert 36 <= allowed <= 60
        if allowed <= 40:
            assert refused
        for answer in refused:
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            assert answer.json()["error"]["reason"] == "RATE_LIMITED"


async def test_readiness_names_what_is_down_and_liveness_does_not_care(gateway: Gateway) -> None:
    ready = await gateway.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "degraded"
    assert ready.json()["checks"]["database"]["ok"] is True
    assert ready.json()["checks"]["executor"]["ok"] is False
    # What a peer answers for is not known without it.
    assert ready.json()["checks"]["storage"]["ok"] is False
    assert ready.json()["checks"]["workers"]["ok"] is False
    assert (await gateway.http.get("/healthz")).json() == {"status": "alive"}
    metrics = await gateway.http.get("/metrics")
    assert 'elodrome_http_requests_total{method="GET"' in metrics.text


async def test_a_service_that_is_down_is_a_503_that_names_it(
    service_environment: Environment,
) -> None:
    peers = {"executor": f"127.0.0.1:{free_port()}"}
    async with running_gateway(service_environment("gateway"), peers=peers) as gateway:
        ada = await gateway.sign_in("ada")
        answer = await ada("GET", "/runs")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE")
        assert "executor" in answer.json()["error"]["message"]
        assert "127.0.0.1" not in answer.text
        assert answer.headers["retry-after"] == "1"


async def test_pages_need_no_other_host_and_are_cached_by_tag(gateway: Gateway) -> None:
    for path in ("/", "/docs", "/pages/docs.js", "/pages/style.css", "/openapi.json"):
        page = await gateway.http.get(path)
        assert page.status_code == 200
        if path != "/openapi.json":
            assert "https://" not in page.text.replace("https://www.w3.org", ""), path
        again = await gateway.http.get(path, headers={"if-none-match": page.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert page.json()["openapi"] == "3.1.0"


async def test_requests_under_way_end_before_the_gateway_does(
    service_environment: Environment,
) -> None:
    environment = service_environment("gateway")
    async with running_gateway(environment, password_memory_kib=19_456) as gateway:
        http = httpx.AsyncClient(base_url=gateway.url, timeout=20)
        body = [{"email": f"n{n}@example.org", "password": PASSWORD} for n in range(8)]
        calls = [
            asyncio.create_task(http.post("/api/v1/auth/register", json=fields)) for fields in body
        ]

        def all_arrived() -> bool:
            return rpcs_open._value.get() + sum(call.done() for call in calls) >= len(calls)

        await eventually(all_arrived)
    answers = await asyncio.gather(*calls)
    await http.aclose()
    assert [answer.status_code for answer in answers] == [201] * 8
