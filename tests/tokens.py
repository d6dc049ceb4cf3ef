"""Call metadata of every kind of caller."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from kit.auth import Principal, Signer

if TYPE_CHECKING:
    from pathlib import Path

Metadata = list[tuple[str, str]]

ALL_SCOPES = frozenset({"READ", "TRAIN", "SUBMIT", "PLAY", "ADMIN"})


class Tokens:
    """Signs tokens with the keys of a test install."""

    def __init__(self, keys_dir: Path) -> None:
        self._keys_dir = keys_dir

    def user(
        self,
        user_id: str = "",
        roles: tuple[str, ...] = ("USER",),
        scopes: frozenset[str] = ALL_SCOPES,
    ) -> Metadata:
        """A person with these roles, as the gateway vouches for them; a new person by default."""
        caller = Principal(
            kind="user",
            subject=user_id or str(uuid.uuid4()),
            roles=frozenset(roles),
            scopes=scopes,
        )
        return bearer(Signer.load(self._keys_dir, "gateway").internal(caller, ttl_s=600))

    def admin(self) -> Metadata:
        """An administrator."""
        return self.user(roles=("ADMIN",))

    def service(self, name: str, on_behalf_of: str = "") -> Metadata:
        """One of the platform's services."""
        return bearer(Signer.load(self._keys_dir, name).service(on_behalf_of=on_behalf_of))

    def worker(
        self, *, run_id: str, job_id: str, attempt: int = 1, epoch: int = 1, user_id: str = ""
    ) -> Metadata:
        """A workload that holds the lease of `epoch`; epoch 0 is the bootstrap token."""
        signer = Signer.load(self._keys_dir, "executor")
        return bearer(
            signer.worker(
                run_id=run_id,
                job_id=job_id,
                attempt=attempt,
                epoch=epoch,
                ttl_s=600,
                user_id=user_id,
            )
        )


def bearer(token: str) -> Metadata:
    """Return the metadata that carries a token."""
    return [("authorization", f"Bearer {token}")]
