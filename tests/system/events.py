"""Small checkpoints whose commits are events, and the effects of those events at the evaluator."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import httpx

from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from tests.system.stack import Stack

_AGAIN = {429, 502, 503, 504}


@dataclass
class Ledger:
    """Commits that were acknowledged, in order; each must take effect at the evaluator once."""

    stack: Stack
    client: httpx.Client
    run_id: str
    acknowledged: list[str] = field(default_factory=list)

    @classmethod
    def open(cls, stack: Stack) -> Ledger:
        """Begin a run that checkpoints can be committed to."""
        client = stack.admin()
        answer = client.post("/runs", json={"type": "EXTERNAL", "name": "ledger"})
        assert answer.status_code == 201, answer.text
        return cls(stack, client, answer.json()["id"])

    def commit(self, within_s: float = 30) -> str:
        """Upload and commit one more checkpoint, again where a service is away; returns its id."""
        content = _checkpoint(iteration=len(self.acknowledged))
        digest = hashlib.sha256(content).hexdigest()
        path = f"/runs/{self.run_id}/checkpoints/{digest}"
        uploaded = self._patiently("PUT", path, within_s, content=content)
        body = {"iteration": len(self.acknowledged)}
        path = f"/checkpoints/{uploaded['id']}:commit"
        committed = self._patiently("POST", path, within_s, json=body)
        assert committed["state"] == "COMMITTED"
        self.acknowledged.append(committed["id"])
        return str(committed["id"])

    def _patiently(self, method: str, path: str, within_s: float, **body: object) -> dict:
        def attempt() -> dict | None:
            try:
                answer = self.client.request(method, path, **body)
            except httpx.TransportError:
                return None
            assert answer.is_success or answer.status_code in _AGAIN, answer.text
            return answer.json() if answer.is_success else None

        return eventually_sync(attempt, within_s)

    def applied(self) -> list[str]:
        """Return the checkpoints of this run that the evaluator heard of."""
        rows = self.stack.rows(
            "evaluator",
            "SELECT id::text FROM saved_checkpoints WHERE run_id = %s ORDER BY ordinal",
            self.run_id,
        )
        return [row["id"] for row in rows]

    def check(self, within_s: float = 60) -> None:
        """Fail unless every acknowledged commit takes effect once, in order of publication."""
        eventually_sync(lambda: len(self.applied()) >= len(self.acknowledged), within_s)
        assert self.applied() == self.acknowledged
        rows = self.stack.rows(
            "registry",
            "SELECT stream_sequence FROM outbox WHERE stream_sequence IS NOT NULL"
            " AND create_time > now() - interval '10 minutes' ORDER BY sequence",
        )
        published = [row["stream_sequence"] for row in rows]
        assert published == sorted(published)


def _checkpoint(iteration: int) -> bytes:
    """Return the bytes of the smallest valid checkpoint; no two are equal."""
    manifest = {
        "format_version": 1,
        "algorithm": "DQN",
        "iteration": iteration,
        "observation_shape": [4, 36, 64],
        "config": {"note": str(uuid.uuid4())},
    }
    tensor = {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}
    metadata = {"manifest": json.dumps(manifest)}
    header = json.dumps({"__metadata__": metadata, "network.weight": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)
