"""`python -m bench.train`: peers and Elodrome in turn; prints a table, writes JSON and a picture.

Results are merged into those of earlier runs by contestant, scenario and seed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bench import report
from bench.train import table
from bench.train.contestants import CONTESTANTS, SCENARIOS
from bench.train.curves import Run, merge
from bench.train.environments import ROOT, python_of
from bench.train.picture import draw
from bench.train.runner import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.train.contestants import Contestant

RESULTS = ROOT / "bench" / "results" / "train.json"
PICTURE = ROOT / "docs" / "learning-curves.svg"


def main() -> None:
    """Run what was asked for, then show everything that is known."""
    arguments = _arguments()
    # Unwinds, so that a contestant does not go on without the benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    plan = list(
        planned(arguments.only, arguments.scenarios, seeds=arguments.seeds, cap_s=arguments.cap)
    )
    known = read(arguments.out)
    if arguments.missing:
        done = {found.key for found in known}
        plan = [entry for entry in plan if (entry[0].name, *entry[1:3]) not in done]
    for name in {contestant.environment for contestant, *_ in plan}:
        python_of(name)
    for contestant, scenario, seed, cap_s in plan:
        print(f"… {contestant.name} on {scenario}, seed {seed}, at most {cap_s:g} s", flush=True)
        found = run(contestant, scenario, seed, cap_s)
        print(f"  {summary(found)}", flush=True)
        # After each, because the whole takes hours.
        known = merge(known, [found])
        write(arguments.out, known)
        arguments.picture.write_text(draw(known), encoding="utf-8")
    rows = _rows(known)
    report.show(rows)
    print(f"written to {arguments.out} and {arguments.picture}")


def planned(
    names: list[str], scenarios: list[str], *, seeds: int, cap_s: float
) -> Iterator[tuple[Contestant, str, int, float]]:
    """Yield contestant, scenario, seed and cap in the order in which they run.

    All contestants have a turn before anybody has the next, for the machine may change its speed.
    """
    for seed in range(seeds):
        for scenario in (name for name in scenarios if seed < SCENARIOS[name].seeds):
            for name in names:
                contestant = CONTESTANTS[name]
                is_repeated = bool(contestant.algorithm) or seed == 0
                if scenario in contestant.caps and is_repeated:
                    yield contestant, scenario, seed, min(cap_s, contestant.caps[scenario])


def summary(found: Run) -> str:
    """Say in a line how a run went."""
    parts = [f"ended: {found.ended}", f"left behind: {found.orphans}"]
    if found.speeds:
        middle = sorted(found.speeds)[len(found.speeds) // 2]
        parts.append(f"{report.number(middle)} steps/s")
    if found.points:
        last = found.points[-1]
        parts.append(f"score {report.number(last.score)} after {report.number(last.t)} s")
    return ", ".join(parts)


def _rows(known: list[Run]) -> list[report.Row]:
    asked = table.Runs(known)
    return [*table.figures(asked), *table.targets(asked)]


def read(path: Path) -> list[Run]:
    if not path.exists():
        return []
    record = json.loads(path.read_text(encoding="utf-8"))
    return [Run.from_json(entry) for entry in record["runs"]]


def write(path: Path, known: list[Run]) -> None:
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        },
        "rows": [_row(row) for row in _rows(known)],
        "runs": [run.to_json() for run in known],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _row(row: report.Row) -> dict[str, object]:
    """Write a row as JSON, which has no infinity: what never came is null."""
    measured = None if math.isinf(row.measured) else row.measured
    return asdict(row) | {"measured": measured, "holds": row.holds}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.train", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        default=list(CONTESTANTS),
        choices=list(CONTESTANTS),
        metavar="NAME",
        help=", ".join(CONTESTANTS),
    )
    parser.add_argument(
        "--scenarios", nargs="+", default=list(SCENARIOS), choices=list(SCENARIOS), metavar="NAME"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--cap", type=float, default=math.inf, help="seconds a run may take")
    parser.add_argument("--missing", action="store_true", help="only what has no result yet")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--picture", type=Path, default=PICTURE)
    return parser.parse_args()


if __name__ == "__main__":
    main()
