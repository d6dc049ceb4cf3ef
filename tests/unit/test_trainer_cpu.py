"""CPU seconds of a worker and of the games that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from trainer.cpu import cpu_seconds

BUSY_S = 0.15
GAME = f"""
import time
while time.process_time() < {BUSY_S}: pass
print(flush=True); time.sleep(600)
"""
# A game behind an actor: a child of a child.
ACTOR = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {GAME!r}])"


def of_others() -> float:
    return cpu_seconds() - time.process_time()


@pytest.mark.parametrize("program", [GAME, ACTOR])
def test_what_a_game_uses_counts_while_it_lives(program: str) -> None:
    before = of_others()
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as started:
        assert started.stdout is not None
        started.stdout.readline()
        used = of_others() - before
        os.killpg(started.pid, signal.SIGKILL)
    assert used > 0.9 * BUSY_S


def test_what_a_game_used_still_counts_once_it_has_ended() -> None:
    before = of_others()
    subprocess.run([sys.executable, "-c", GAME.partition("print")[0]], check=True)
    assert of_others() - before > 0.9 * BUSY_S
