"""A process that is killed comes back by itself, and the platform with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.waiting import eventually_sync

if TYPE_CHECKING:
    from tests.system.stack import Stack


@pytest.mark.parametrize(
    "name", ["gateway", "registry", "executor", "evaluator", "sessions", "nats", "postgres"]
)
def test_a_killed_process_comes_back(stack: Stack, name: str) -> None:
    admin = stack.admin()
    before = stack.record.entry(name).restarts
    stack.wait_replaced(name, stack.kill(name))
    entry = stack.record.entry(name)
    assert entry.restarts == before + 1
    assert "SIGKILL" in entry.last_error
    eventually_sync(lambda: admin.get("/models").status_code == 200, within_s=20)
