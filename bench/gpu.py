"""Steps a second of trainings that learn on a GPU: `python -m bench.gpu [--beside CHECKOUT]`.

Each runs in a process of its own for some seconds; what counts are the last two thirds. With
another checkout, such as one of an earlier commit, every training on the GPU runs with the trainer
of that one as well, right before, so that both are measured on the same machine within a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench import report
from trainer import forkserver
from trainer.algorithms import opened
from trainer.config import parse
from trainer.reporter import Request, Silent

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "gpu.json"
START_S = 60.0

PPO: dict[str, Any] = {"color": "gray", "history": 4}
LARGE = {
    **PPO,
    "channels": [32, 64, 128],
    "hidden": 512,
    "games": 32,
    "actors": 8,
    "batch_size": 512,
}
DQN: dict[str, Any] = {"algorithm": "DQN"}
EIGHT = {"actors": 8}
CPU, BFLOAT16 = {"gpu_id": -1}, {"precision": "bfloat16"}
TRAININGS: dict[str, dict[str, Any]] = {
    "PPO, CPU": {**PPO, **CPU},
    "PPO": PPO,
    "PPO large, CPU": {**LARGE, **CPU},
    "PPO large": LARGE,
    "PPO large, bfloat16": {**LARGE, **BFLOAT16},
    "PPO with an LSTM": {**PPO, "network_type": "lstm"},
    "PPO with an LSTM, 8 actors": {**PPO, "network_type": "lstm", **EIGHT},
    "DQN, CPU": {**DQN, **CPU},
    "DQN": DQN,
    "DQN, 8 actors": {**DQN, **EIGHT},
    "DQN prioritised, bfloat16": {**DQN, "prioritised": True, **BFLOAT16},
    "DRQN": {"algorithm": "DRQN"},
    "DRQN, 8 actors": {"algorithm": "DRQN", **EIGHT},
}
ENDLESS = {"max_iterations": 10**8, "checkpoint_interval": 10**8, "gpu_id": 0}


class Watch(Silent):
    """Notes how far the training has come, and stops it in time."""

    def __init__(self, seconds: float) -> None:
        """Let the training go on for `seconds` from its first iteration on."""
        self._seconds = seconds
        self._asked = 0.0
        self._learning_s = 0.0
        self._done: list[tuple[float, int, float]] = []

    def request(self) -> Request:
        """Ask to stop when the time is over; what follows an answer is learning."""
        self._asked = time.perf_counter()
        is_over = self._done and self._asked > self._done[0][0] + self._seconds
        return Request.STOP if is_over else Request.GO_ON

    def progress(self, *, iteration: int, step: int, phase: str) -> None:  # noqa: ARG002
        """Note when a window had been learned from."""
        if phase == "training":
            now = time.perf_counter()
            self._learning_s += now - self._asked
            self._done.append((now, step, self._learning_s))

    def found(self, updates_per_step: float) -> dict[str, float]:
        """Answer the steps a second, and what the learner did with its time.

        That is the share of it that it was at work, and milliseconds for each update, with all that
        is done once a window.
        """
        over, steps, learning_s = self._done[-1]
        since = over - self._seconds * 2 / 3
        begun, before, learned_s = next(one for one in self._done if one[0] >= since)
        wall_s, at_work_s = over - begun, learning_s - learned_s
        return {
            "steps_per_s": (steps - before) / wall_s,
            "learner_busy": at_work_s / wall_s,
            "update_ms": 1e3 * at_work_s / ((steps - before) * updates_per_step),
        }


def train(name: str, seconds: float) -> dict[str, float]:
    """Train for some seconds."""
    forkserver.prepare()
    config, watch = parse({**ENDLESS, **TRAININGS[name]}), Watch(seconds)
    with opened(config, watch) as training:
        training.run()
    is_ppo = config.algorithm == "PPO"
    updates_per_step = config.epochs / config.batch_size if is_ppo else 1 / config.steps_per_update
    memory_mib = torch.cuda.max_memory_allocated() / 2**20
    return {**watch.found(updates_per_step), "gpu_memory_mib": memory_mib}


def trained(name: str, seconds: float, checkout: Path) -> dict[str, float]:
    """Train in a process of its own with the trainer of a checkout."""
    paths = [checkout, checkout / "gen", checkout / "sdk", *os.environ["PYTHONPATH"].split(":")]
    run = subprocess.run(
        [sys.executable, "-P", __file__, "--train", name, "--seconds", str(seconds)],
        env={**os.environ, "PYTHONPATH": ":".join(map(str, paths))},
        timeout=seconds + START_S,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def measure(names: list[str], seconds: float, beside: Path | None) -> Iterator[report.Row]:
    """Run the named trainings one after the other; hands out each row as it comes."""
    card = torch.cuda.get_device_name(0)
    for name in names:
        if beside is not None and TRAININGS[name].get("gpu_id") != -1:
            yield _row(f"{name}, the other checkout", trained(name, seconds, beside), card)
        yield _row(name, trained(name, seconds, ROOT), card)


def _row(what: str, found: dict[str, float], card: str) -> report.Row:
    speed = found.pop("steps_per_s")
    return report.Row(what, speed, "steps/s", detail={**found, "card": card})


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(prog="bench.gpu", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TRAININGS, default=list(TRAININGS))
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each one trains")
    parser.add_argument("--beside", type=Path, help="another checkout to measure, too")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--train", choices=TRAININGS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        print(json.dumps(train(arguments.train, arguments.seconds)))
        return
    if not torch.cuda.is_available():
        parser.error("there is no GPU")
    rows: list[report.Row] = []
    for row in measure(arguments.only, arguments.seconds, arguments.beside):
        print(f"{row.what}: {report.number(row.measured)} {row.unit}", flush=True)
        rows.append(row)
        report.write(arguments.out, rows)
    report.show(rows)
    print(f"written to {arguments.out}")


if __name__ == "__main__":
    main()
