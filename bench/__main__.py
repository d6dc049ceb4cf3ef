"""`python -m bench [name …]`: measure, print a table, write JSON."""

from __future__ import annotations

import argparse
import asyncio
import importlib
from pathlib import Path

from bench import report
from bench.install import running

NAMES = (
    "idle_memory",
    "gateway_overhead",
    "rest_load",
    "metrics_ingest",
    "upload",
    "start_latency",
    "matches",
    "story",
    "learners",
    "k8s",
    "k8s_streams",
)
WITHOUT_INSTALL = {"metrics_ingest", "story", "learners", "k8s", "k8s_streams"}
SETTINGS = {
    # Fifty accounts register from one address, and they ask as often as the load says.
    "ELODROME_REGISTRATIONS_PER_HOUR_ADDRESS": "100000",
    "ELODROME_REQUESTS_PER_MINUTE": "1000000",
}
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run the benchmarks that were named, all by default."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(NAMES))
    parser.add_argument("--out", type=Path, default=RESULTS / "latest.json")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    rows = measure(tuple(arguments.names) or NAMES)
    report.show(rows)
    report.write(arguments.out, rows)
    print(f"written to {arguments.out}")


def measure(names: tuple[str, ...]) -> list[report.Row]:
    """Run the named benchmarks, those on an install in one install, each after the other."""
    rows: list[report.Row] = []
    inside = [name for name in names if name not in WITHOUT_INSTALL]
    if inside:
        with running(**SETTINGS) as install:
            for name in inside:
                rows.append(_announced(name))
                rows += asyncio.run(importlib.import_module(f"bench.{name}").measure(install))
    for name in names:
        if name in WITHOUT_INSTALL:
            rows.append(_announced(name))
            rows += importlib.import_module(f"bench.{name}").measure()
    return rows


def _announced(name: str) -> report.Row:
    """Say what is measured next, and how fast the machine is just then."""
    print(f"… {name}", flush=True)
    return report.core_speed(f"before {name}")


if __name__ == "__main__":
    main()
