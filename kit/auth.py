"""Who calls: signed tokens, the keys they are signed with, and the caller of the current RPC.

Every service signs with its own Ed25519 key and holds everybody's public keys. The key set says
which types of token each key may sign, so a service that is broken into cannot speak for users.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
import uuid
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from kit import errors, files

AUDIENCE = "elodrome"
LEEWAY_S = 30
"""How far two clocks may differ before a token is judged expired or not yet valid."""
TOKEN_TYPES: dict[str, tuple[str, ...]] = {
    "gateway": ("access", "internal", "service"),
    "registry": ("service",),
    "executor": ("worker", "service"),
    "evaluator": ("service",),
    "sessions": ("service",),
}
"""Which types of token each service may sign."""

_ALGORITHM = "EdDSA"
_HEADER = frozenset({"alg", "kid", "typ"})
_MAX_TOKEN_CHARACTERS = 8192
_REMEMBERED_TOKENS = 1024
_KEY_SET = "jwks.json"
_KIND_OF_TYPE: dict[str, frozenset[str]] = {
    "access": frozenset({"user"}),
    "internal": frozenset({"user", "anonymous"}),
    "worker": frozenset({"worker"}),
    "service": frozenset({"service"}),
}

Kind = Literal["anonymous", "user", "service", "worker"]


@dataclass(frozen=True)
class Principal:
    """A caller. `subject` is the user id, the service name or the job id, by kind.

    Empty `scopes` mean a credential that is not limited to some scopes, such as a signed-in user.
    """

    kind: Kind = "anonymous"
    subject: str = ""
    roles: frozenset[str] = frozenset({"ANONYMOUS"})
    scopes: frozenset[str] = frozenset()
    session_id: str = ""
    run_id: str = ""
    job_id: str = ""
    attempt: int = 0
    epoch: int = 0
    on_behalf_of: str = ""

    @property
    def user_id(self) -> str:
        """The user who calls, or for whom a service or worker calls; empty if there is none."""
        return self.subject if self.kind == "user" else self.on_behalf_of

    @property
    def is_admin(self) -> bool:
        """Whether the caller runs the install."""
        return "ADMIN" in self.roles

    def owns(self, owner_id: str | None) -> bool:
        """Say whether the caller may treat what `owner_id` owns as its own.

        True for the owner, ADMIN, OPERATOR, and a service that acts for nobody else.
        """
        if self.roles & {"ADMIN", "OPERATOR"}:
            return True
        if self.kind == "service" and not self.on_behalf_of:
            return True
        return bool(self.user_id) and self.user_id == owner_id


ANONYMOUS = Principal()

_principal: ContextVar[Principal] = ContextVar("principal", default=ANONYMOUS)


def principal() -> Principal:
    """Return the caller of the current RPC or event; ANONYMOUS outside of one."""
    return _principal.get()


def act_as(caller: Principal) -> None:
    """Make `caller` the principal of the current task and of the tasks it starts."""
    _principal.set(caller)


def service_principal(name: str, on_behalf_of: str = "") -> Principal:
    """Return the principal of a service."""
    return Principal(
        kind="service", subject=name, roles=frozenset({"SERVICE"}), on_behalf_of=on_behalf_of
    )


def generate_keys(directory: Path) -> None:
    """Give every service a key pair, and write the set of public keys; keeps keys that exist.

    Writes `<service>.pem` and `jwks.json`, readable by their owner alone.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    entries = []
    for service, types in TOKEN_TYPES.items():
        path = _private_key_path(directory, service)
        if not path.exists():
            files.replace(path, _pem(Ed25519PrivateKey.generate()))
        x = _public_bytes(_load_private_key(path).public_key())
        entries.append(
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": _ALGORITHM,
                "use": "sig",
                "kid": _key_id(service, x),
                "service": service,
                "types": list(types),
                "x": base64.urlsafe_b64encode(x).decode().rstrip("="),
            }
        )
    key_set = json.dumps({"keys": entries}, indent=2).encode()
    if not (path := directory / _KEY_SET).exists() or path.read_bytes() != key_set:
        files.replace(path, key_set)


def _private_key_path(directory: Path, service: str) -> Path:
    return directory / f"{service}.pem"


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _load_private_key(path: Path) -> Ed25519PrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        message = f"{path} does not hold an Ed25519 key"
        raise TypeError(message)
    return key


def _public_bytes(key: Ed25519PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _key_id(service: str, x: bytes) -> str:
    return f"{service}-{hashlib.sha256(x).hexdigest()[:16]}"


class Signer:
    """Signs tokens in the name of one service."""

    def __init__(self, service: str, key: Ed25519PrivateKey) -> None:
        self.name = service
        self._key = key
        self._key_id = _key_id(service, _public_bytes(key.public_key()))

    @classmethod
    def load(cls, directory: Path, service: str) -> Signer:
        """Read the service's private key from the keys directory."""
        return cls(service, _load_private_key(_private_key_path(directory, service)))

    def access(self, caller: Principal, ttl_s: float) -> str:
        """Sign what a signed-in user holds."""
        return self._sign("access", caller, ttl_s)

    def internal(self, caller: Principal, ttl_s: float) -> str:
        """Sign what the gateway sends along with one call of a user."""
        return self._sign("internal", caller, ttl_s)

    def worker(
        self, *, run_id: str, job_id: str, attempt: int, epoch: int, ttl_s: float, user_id: str
    ) -> str:
        """Sign what a leased workload holds; epoch 0 is good for nothing but AcquireLease."""
        caller = Principal(
            kind="worker",
            subject=job_id,
            roles=frozenset({"WORKER"}),
            run_id=run_id,
            job_id=job_id,
            attempt=attempt,
            epoch=epoch,
            on_behalf_of=user_id,
        )
        return self._sign("worker", caller, ttl_s)

    def service(self, on_behalf_of: str = "", ttl_s: float = 60) -> str:
        """Sign what this service sends to its peers, for itself or for a user."""
        return self._sign("service", service_principal(self.name, on_behalf_of), ttl_s)

    def _sign(self, token_type: str, caller: Principal, ttl_s: float) -> str:
        now = time.time()
        claims = {
            "iss": self.name,
            "aud": AUDIENCE,
            "iat": int(now),
            "exp": int(now + ttl_s),
            "jti": uuid.uuid4().hex,
            "kind": caller.kind,
            "sub": caller.subject,
            "roles": sorted(caller.roles),
            "scopes": sorted(caller.scopes),
            "session_id": caller.session_id,
            "run_id": caller.run_id,
            "job_id": caller.job_id,
            "attempt": caller.attempt,
            "epoch": caller.epoch,
            "on_behalf_of": caller.on_behalf_of,
        }
        return jwt.encode(
            {name: value for name, value in claims.items() if value not in ("", 0, [])},
            self._key,
            algorithm=_ALGORITHM,
            headers={"kid": self._key_id, "typ": token_type},
        )


@dataclass(frozen=True)
class _TrustedKey:
    service: str
    types: frozenset[str]
    key: Ed25519PublicKey


class Verifier:
    """Judges tokens by the set of public keys; opens no file and no connection while doing so."""

    def __init__(self, keys: dict[str, _TrustedKey]) -> None:
        self._keys = keys
        self._signatures = jwt.PyJWS(algorithms=[_ALGORITHM])
        # A caller shows the same token many times; what it says and who signed it never changes.
        self._opened = lru_cache(maxsize=_REMEMBERED_TOKENS)(self._open)

    @classmethod
    def load(cls, directory: Path) -> Verifier:
        """Read the public keys from the keys directory."""
        keys = {}
        for entry in json.loads((directory / _KEY_SET).read_bytes())["keys"]:
            x = base64.urlsafe_b64decode(entry["x"] + "=")
            keys[entry["kid"]] = _TrustedKey(
                entry["service"],
                frozenset(entry["types"]),
                Ed25519PublicKey.from_public_bytes(x),
            )
        return cls(keys)

    def verify(
        self, token: str, *, now: float | None = None, types: frozenset[str] | None = None
    ) -> Principal:
        """Return the caller a token stands for; raise UNAUTHENTICATED where it does not hold.

        `now` is in seconds since 1970, the clock's by default; `types` limits which types of
        token are taken, all by default. Reasons: TOKEN_INVALID, TOKEN_EXPIRED.
        """
        header, claims = self._opened(token)
        trusted = self._keys[header["kid"]]
        token_type = header["typ"]
        if token_type not in (trusted.types if types is None else trusted.types & types):
            raise _invalid("a token of this type is not taken here")
        if claims.get("iss") != trusted.service or claims.get("aud") != AUDIENCE:
            raise _invalid("the token was not issued for this install")
        _check_times(claims, time.time() if now is None else now)
        if claims.get("kind") not in _KIND_OF_TYPE[token_type]:
            raise _invalid("the token does not stand for such a caller")
        return _principal_of(claims)

    def _open(self, token: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Check shape and signature; the header's key id and type are known afterwards."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise _invalid("the token is too long")
        try:
            header = jwt.get_unverified_header(token)
            if header.keys() != _HEADER or header["alg"] != _ALGORITHM:
                raise _invalid("the token's header is not one of ours")
            trusted = self._keys.get(header["kid"])
            if trusted is None or header["typ"] not in _KIND_OF_TYPE:
                raise _invalid("the token was not signed here")
            payload = self._signatures.decode(token, trusted.key, algorithms=[_ALGORITHM])
            claims = json.loads(payload)
        except (jwt.InvalidTokenError, ValueError, TypeError) as error:
            raise _invalid("the token is malformed or its signature is wrong") from error
        if not isinstance(claims, dict):
            raise _invalid("the token holds no claims")
        return header, claims


def _check_times(claims: dict[str, Any], now: float) -> None:
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int | float) or not isinstance(expires, int | float):
        raise _invalid("the token has no lifetime")
    if now > expires + LEEWAY_S:
        raise errors.unauthenticated("the token has expired", reason="TOKEN_EXPIRED")
    if now < issued - LEEWAY_S:
        raise _invalid("the token is not valid yet")


def _principal_of(claims: dict[str, Any]) -> Principal:
    """Read claims that our own services signed, so their shapes are known."""
    return Principal(
        kind=claims["kind"],
        subject=claims.get("sub", ""),
        roles=frozenset(claims.get("roles", ())),
        scopes=frozenset(claims.get("scopes", ())),
        session_id=claims.get("session_id", ""),
        run_id=claims.get("run_id", ""),
        job_id=claims.get("job_id", ""),
        attempt=claims.get("attempt", 0),
        epoch=claims.get("epoch", 0),
        on_behalf_of=claims.get("on_behalf_of", ""),
    )


def _invalid(message: str) -> errors.RpcError:
    return errors.unauthenticated(message, reason="TOKEN_INVALID")


if __name__ == "__main__":
    generate_keys(Path(sys.argv[1]))
