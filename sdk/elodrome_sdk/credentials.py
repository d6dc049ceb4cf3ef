"""Who is signed in where: one file that only its owner can read."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Credentials:
    """What one sign-in gave. `expire_time` is when the access token ends, in Unix seconds."""

    access_token: str
    refresh_token: str = ""
    expire_time: float = 0
    email: str = ""


class CredentialsFile:
    """Credentials by the address of the install, at `path` with mode 0600."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or default_path()

    def get(self, url: str) -> Credentials | None:
        """Return the credentials for an install, or None."""
        stored = self._read().get(url)
        return Credentials(**stored) if stored else None

    def put(self, url: str, credentials: Credentials | None) -> None:
        """Store the credentials for an install, or forget them."""
        known = self._read()
        known.pop(url, None)
        if credentials is not None:
            known[url] = asdict(credentials)
        self._write(known)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Let one process change credentials at a time.

        A refresh token works once: two processes that used the same one would be signed out.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def _write(self, known: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self.path.with_suffix(f".{uuid4().hex}")
        # Created with its mode: at no moment could somebody else read it.
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(known, file, indent=2)
        fresh.replace(self.path)


def default_path() -> Path:
    """Return the file in the user's configuration directory, by the XDG rules."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "elodrome" / "credentials.json"
