"""Forged, stale and misused tokens get nowhere."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import event

from kit.auth import Principal, Signer
from tests.gateway import Environment, Gateway, running_gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ME = "/api/v1/auth/me"


@pytest.fixture
async def gateway(service_environment: Environment) -> AsyncIterator[Gateway]:
    async with running_gateway(service_environment("gateway")) as gateway:
        yield gateway


async def status(gateway: Gateway, token: str) -> int:
    headers = {"authorization": f"Bearer {token}"}
    answer = await gateway.http.get(ME, headers=headers)
    assert answer.json()["error"]["code"] == "UNAUTHENTICATED"
    return answer.status_code


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged(
    good: str,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
    signature: str | None = None,
) -> str:
    head, body, signed = good.split(".")
    old = json.loads(base64.urlsafe_b64decode(head + "=="))
    known = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    parts = [part({**old, **(header or {})}), part({**known, **(claims or {})})]
    return ".".join([*parts, signed if signature is None else signature])


async def test_tokens_that_were_tampered_with_are_refused(gateway: Gateway) -> None:
    good = (await gateway.register("ada"))["access_token"]
    jwks = (gateway.settings.keys_dir / "jwks.json").read_text()
    known = json.loads(jwks)["keys"][0]
    claims = {"sub": "x", "exp": int(time.time()) + 60}
    bad = [
        forged(good, header={"alg": "none"}, signature=""),
        forged(good, signature=""),
        forged(good, claims={"roles": ["ADMIN"]}),
        forged(good, header={"crit": ["exp"]}),
        forged(good, header={"kid": "../../dev/null"}),
        forged(good, header={"kid": "' OR 1=1 --"}),
        forged(good, header={"kid": "x" * 10_000}),
        jwt.encode(claims, jwks[:64], algorithm="HS256", headers={"kid": known["kid"]}),
        jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA"),
        "x.y.z",
        good + good,
    ]
    for token in bad:
        assert await status(gateway, token) == 401, token[:60]


async def test_unknown_keys_are_refused_without_asking_the_database(gateway: Gateway) -> None:
    good = (await gateway.register("ada"))["access_token"]
    asked = []
    engine = gateway.running.context.engine.sync_engine
    event.listen(engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
    for _ in range(30):
        assert await status(gateway, forged(good, header={"kid": str(uuid.uuid4())})) == 401
    assert not [statement for statement in asked if "users" in statement]


@pytest.mark.parametrize("kind", ["internal", "service", "worker", "stale", "future", "no session"])
async def test_tokens_for_other_purposes_are_refused(gateway: Gateway, kind: str) -> None:
    session = await gateway.register("ada")
    signer = Signer.load(gateway.settings.keys_dir, "gateway")
    ada = Principal(kind="user", subject=session["user"]["id"], roles=frozenset({"USER"}))
    ids = {"run_id": str(uuid.uuid4()), "job_id": str(uuid.uuid4())}
    executor = Signer.load(gateway.settings.keys_dir, "executor")
    token = {
        "internal": lambda: signer.internal(ada, 60),
        "service": signer.service,
        "worker": lambda: executor.worker(**ids, attempt=1, epoch=1, ttl_s=60, user_id=""),
        "stale": lambda: signer.access(ada, -1),
        "future": lambda: shifted(signer, ada),
        "no session": lambda: signer.access(ada, 60),
    }[kind]()
    assert await status(gateway, token) == 401


def shifted(signer: Signer, caller: Principal) -> str:
    """Return a token that is not valid yet."""
    token = signer.access(caller, 7200)
    claims = jwt.decode(token, options={"verify_signature": False})
    header = jwt.get_unverified_header(token)
    claims["iat"] += 3600
    return jwt.encode(claims, signer._key, algorithm="EdDSA", headers=header)


async def test_a_refresh_token_is_no_access_token(gateway: Gateway) -> None:
    session = await gateway.register("ada")
    assert await status(gateway, session["refresh_token"]) == 401
