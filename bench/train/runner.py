"""Starts one contestant, waits for it, and lets nothing of it live on."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from bench.report import core_speed
from bench.train.curves import Run, read_lines
from bench.train.environments import BUILD, ROOT, python_of
from bench.train.peers.report import BEGAN

if TYPE_CHECKING:
    from pathlib import Path

    from bench.train.contestants import Contestant

MARK = "ELODROME_BENCH_RUN"
"""Environment variable that a contestant and all that it starts inherit, its own in every run."""


@dataclass(frozen=True)
class Ended:
    """How a process ended ("done", "limit" or its exit code) and how many it left behind."""

    how: str
    orphans: int


def run(contestant: Contestant, scenario: str, seed: int, cap_s: float) -> Run:
    """Run a contestant to the end; its output stays under `.build/bench-train/runs`."""
    python = python_of(contestant.environment)
    speed = core_speed("before").measured
    home = BUILD / "runs" / f"{contestant.name}-{scenario}-{seed}"
    shutil.rmtree(home, ignore_errors=True)
    # ViZDoom's own: of two games that make it at once, one waits for ever.
    (home / "_vizdoom").mkdir(parents=True)
    command = [str(python), "-m", contestant.module]
    command += contestant.arguments(scenario, seed, cap_s)
    # The clock of peers stands while they are judged, and Sample Factory is judged afterwards.
    ended = supervise(command, home, limit_s=3 * cap_s + 300)
    with (home / "stdout").open(encoding="utf-8", errors="replace") as lines:
        found = read_lines(lines)
    return Run(
        contestant.name,
        scenario,
        seed,
        cap_s,
        core_speed=speed,
        ended=ended.how,
        orphans=ended.orphans,
        **found,
    )


def supervise(command: list[str], home: Path, *, limit_s: float, grace_s: float = 2.0) -> Ended:
    """Run a command in `home` for at most `limit_s`, then end whatever it has started.

    What ends by itself within `grace_s` was not left behind. Output goes to files, for orphans
    would keep a pipe open.
    """
    mark = uuid.uuid4().hex
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in (".", "gen", "sdk")),
        "OMP_NUM_THREADS": "1",
        MARK: mark,
        BEGAN: str(time.monotonic()),
    }
    with (home / "stdout").open("wb") as out, (home / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            command, cwd=home, env=environment, stdout=out, stderr=errors, start_new_session=True
        )
        try:
            code = process.wait(limit_s)
            how = "done" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            how = "limit"
        finally:
            process.kill()
            process.wait()
            orphans = reap(mark, grace_s)
    return Ended(how, orphans)


def reap(mark: str, grace_s: float) -> int:
    """Kill every process that inherited `mark`, until none is left; answers how many there were.

    They have `grace_s` to end by themselves.
    """
    patience = time.monotonic() + grace_s
    while time.monotonic() < patience and _marked(mark):
        time.sleep(0.05)
    count = 0
    while alive := _marked(mark):
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, timeout=0.1)
        count += len(alive)
    return count


def _marked(mark: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
