"""The demo is the acceptance of the whole: it happens, even while every service dies once."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.laptop import programs

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.stack import Stack

# When a line of the story holds these words, this service is killed.
KILLS = [
    ("✓ run ppo-", "executor"),
    ("training", "gateway"),
    ("training", "registry"),
    ("5/8 Evaluate", "evaluator"),
    ("8/8 Play", "sessions"),
]


@pytest.mark.timeout(840)
def test_the_demo_happens_while_every_service_is_killed_once(
    new_stack: Callable[..., Stack],
) -> None:
    one = new_stack(ELODROME_LEASE_EXPIRY_S="30", ELODROME_HEARTBEAT_S="2")
    waiting, lines = list(KILLS), []
    with subprocess.Popen(
        one.command("demo", "--exit"),
        cwd=programs.REPOSITORY,
        env=os.environ | one.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        assert demo.stdout is not None
        for line in demo.stdout:
            lines.append(line)
            if waiting and waiting[0][0] in line:
                one.kill(waiting.pop(0)[1])
    story = "".join(lines)
    assert demo.returncode == 0, story
    assert not waiting, story
    for _, service in KILLS:
        assert one.record.entry(service).restarts >= 1, story
    for step in ("is stable", "passed, p =", "drill", "the whole story"):
        assert step in story
    assert {entry.state for entry in one.record.entries} == {"STOPPED"}
