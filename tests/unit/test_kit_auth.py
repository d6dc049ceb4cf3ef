from __future__ import annotations

import base64
import json
import time
from typing import TYPE_CHECKING

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kit import auth
from kit.auth import LEEWAY_S, Principal, Signer, Verifier
from kit.errors import RpcError

if TYPE_CHECKING:
    from pathlib import Path

ANNA = Principal(
    kind="user",
    subject="7d9f1c56-0000-4000-8000-000000000001",
    roles=frozenset({"USER"}),
    scopes=frozenset({"READ"}),
    session_id="s-1",
)
LEASE = {
    "run_id": "run",
    "job_id": "job",
    "attempt": 2,
    "epoch": 7,
    "ttl_s": 60,
    "user_id": "anna",
}


@pytest.fixture
def verifier(keys_dir: Path) -> Verifier:
    return Verifier.load(keys_dir)


def refused(verifier: Verifier, token: str, **options: object) -> str:
    with pytest.raises(RpcError) as caught:
        verifier.verify(token, **options)
    assert caught.value.code is grpc.StatusCode.UNAUTHENTICATED
    return caught.value.reason


def forged(claims: dict[str, object], header: dict[str, object], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(claims).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def opened(token: str) -> tuple[dict[str, object], dict[str, object]]:
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims, jwt.get_unverified_header(token)


def test_a_token_brings_back_the_caller_it_was_signed_for(
    keys_dir: Path, verifier: Verifier
) -> None:
    signer = Signer.load(keys_dir, "gateway")
    assert verifier.verify(signer.access(ANNA, 60)) == ANNA
    assert verifier.verify(signer.internal(ANNA, 60)) == ANNA
    assert verifier.verify(signer.internal(auth.ANONYMOUS, 60)) == auth.ANONYMOUS


def test_a_worker_token_carries_the_lease_and_the_user_it_works_for(
    keys_dir: Path, verifier: Verifier
) -> None:
    token = Signer.load(keys_dir, "executor").worker(**LEASE)
    worker = verifier.verify(token)
    assert (worker.kind, worker.run_id, worker.job_id) == ("worker", "run", "job")
    assert (worker.attempt, worker.epoch, worker.user_id) == (2, 7, "anna")


def test_generating_keys_again_keeps_them_and_they_are_private(tmp_path: Path) -> None:
    auth.generate_keys(tmp_path)
    token = Signer.load(tmp_path, "registry").service()
    auth.generate_keys(tmp_path)
    assert Verifier.load(tmp_path).verify(token).subject == "registry"
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("service", ["registry", "executor", "evaluator", "sessions"])
def test_only_the_gateway_speaks_for_users(
    keys_dir: Path, verifier: Verifier, service: str
) -> None:
    token = Signer.load(keys_dir, service).internal(ANNA, 60)
    assert refused(verifier, token) == "TOKEN_INVALID"


@pytest.mark.parametrize("service", ["gateway", "registry", "evaluator", "sessions"])
def test_only_the_executor_hands_out_leases(
    keys_dir: Path, verifier: Verifier, service: str
) -> None:
    token = Signer.load(keys_dir, service).worker(**LEASE)
    assert refused(verifier, token) == "TOKEN_INVALID"


def test_a_service_token_cannot_carry_a_user_as_the_caller(
    keys_dir: Path, verifier: Verifier
) -> None:
    signer = Signer.load(keys_dir, "registry")
    assert refused(verifier, signer._sign("service", ANNA, 60)) == "TOKEN_INVALID"


def test_a_service_cannot_sign_in_the_name_of_another(keys_dir: Path, verifier: Verifier) -> None:
    signer = Signer.load(keys_dir, "registry")
    signer.name = "executor"
    assert refused(verifier, signer.service()) == "TOKEN_INVALID"


def test_a_token_ends_after_its_life_and_the_leeway(keys_dir: Path, verifier: Verifier) -> None:
    token, now = Signer.load(keys_dir, "gateway").access(ANNA, 60), time.time()
    assert verifier.verify(token, now=now + 60 + LEEWAY_S - 2) == ANNA
    assert refused(verifier, token, now=now + 60 + LEEWAY_S + 2) == "TOKEN_EXPIRED"


def test_a_token_from_the_future_does_not_hold(keys_dir: Path, verifier: Verifier) -> None:
    token = Signer.load(keys_dir, "gateway").access(ANNA, 60)
    assert refused(verifier, token, now=time.time() - LEEWAY_S - 5) == "TOKEN_INVALID"


def test_a_verifier_may_take_some_types_only(keys_dir: Path, verifier: Verifier) -> None:
    signer = Signer.load(keys_dir, "gateway")
    only = frozenset({"access"})
    assert verifier.verify(signer.access(ANNA, 60), types=only) == ANNA
    assert refused(verifier, signer.internal(ANNA, 60), types=only) == "TOKEN_INVALID"


def test_an_unsigned_token_does_not_hold(keys_dir: Path, verifier: Verifier) -> None:
    token = Signer.load(keys_dir, "gateway").access(ANNA, 60)
    claims, header = opened(token)
    assert refused(verifier, forged(claims, header)) == "TOKEN_INVALID"
    assert refused(verifier, forged(claims, header | {"alg": "none"})) == "TOKEN_INVALID"


def test_the_public_key_is_no_secret_to_sign_with(keys_dir: Path, verifier: Verifier) -> None:
    claims, header = opened(Signer.load(keys_dir, "gateway").access(ANNA, 60))
    entry = json.loads((keys_dir / "jwks.json").read_bytes())["keys"][0]
    token = jwt.encode(claims, entry["x"], algorithm="HS256", headers=header | {"alg": "HS256"})
    assert refused(verifier, token) == "TOKEN_INVALID"


def test_a_key_that_is_not_in_the_set_does_not_count(keys_dir: Path, verifier: Verifier) -> None:
    claims, header = opened(Signer.load(keys_dir, "gateway").access(ANNA, 60))
    token = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)
    assert refused(verifier, token) == "TOKEN_INVALID"


@pytest.mark.parametrize("kid", ["../../dev/null", "' OR 1=1 --", "k" * 10_000, 7, None, [], {}])
def test_a_strange_key_id_is_refused(keys_dir: Path, verifier: Verifier, kid: object) -> None:
    claims, header = opened(Signer.load(keys_dir, "gateway").access(ANNA, 60))
    assert refused(verifier, forged(claims, header | {"kid": kid}, b"x" * 64)) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "extra", [{"crit": ["b64"]}, {"b64": False}, {"jwk": {}}, {"x5u": "https://example.org"}]
)
def test_headers_of_other_schemes_are_refused(
    keys_dir: Path, verifier: Verifier, extra: dict[str, object]
) -> None:
    claims, header = opened(Signer.load(keys_dir, "gateway").access(ANNA, 60))
    assert refused(verifier, forged(claims, header | extra, b"x" * 64)) == "TOKEN_INVALID"


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "ä.ö.ü", "\x00", "e30.e30.e30", "[]"])
def test_what_is_not_a_token_is_refused(verifier: Verifier, token: str) -> None:
    assert refused(verifier, token) == "TOKEN_INVALID"


@pytest.mark.parametrize("change", [{"aud": "other"}, {"iss": "registry"}, {"exp": None}])
def test_claims_of_another_install_are_refused(
    keys_dir: Path, verifier: Verifier, change: dict[str, object]
) -> None:
    signer = Signer.load(keys_dir, "gateway")
    claims, header = opened(signer.access(ANNA, 60))
    changed = {name: value for name, value in (claims | change).items() if value is not None}
    token = jwt.encode(changed, signer._key, algorithm="EdDSA", headers=header)
    assert refused(verifier, token) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    ("caller", "owns"),
    [
        (ANNA, True),
        (Principal(kind="user", subject="other", roles=frozenset({"USER"})), False),
        (Principal(kind="user", subject="other", roles=frozenset({"ADMIN"})), True),
        (Principal(kind="user", subject="other", roles=frozenset({"OPERATOR"})), True),
        (auth.service_principal("executor"), True),
        (auth.service_principal("executor", on_behalf_of="other"), False),
        (auth.service_principal("executor", on_behalf_of=ANNA.subject), True),
        (auth.ANONYMOUS, False),
    ],
)
def test_who_owns_what_anna_made(caller: Principal, owns: bool) -> None:
    assert caller.owns(ANNA.subject) is owns


def test_nobody_owns_what_has_no_owner() -> None:
    assert not auth.ANONYMOUS.owns("")
    assert not ANNA.owns(None)
