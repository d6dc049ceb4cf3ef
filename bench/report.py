"""A measured row and how rows are shown and kept."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

_LOOPS = 1_000_000
_SPEED_SAMPLES = 5


@dataclass(frozen=True)
class Row:
    """One figure. `target` is what it must reach, None for a figure shown for comparison only."""

    what: str
    measured: float
    unit: str
    target: float | None = None
    more_is_better: bool = False
    detail: dict[str, float | int | str] = field(default_factory=dict)

    @property
    def holds(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.measured >= self.target if self.more_is_better else self.measured <= self.target


def core_speed(moment: str) -> Row:
    """Time a plain loop: machines shared with others change their speed several times an hour."""
    speeds = []
    for _ in range(_SPEED_SAMPLES):
        begin = time.perf_counter()
        total = 0
        for number_of_loop in range(_LOOPS):
            total += number_of_loop
        speeds.append(_LOOPS / (time.perf_counter() - begin) / 1e6)
    return Row(f"speed of one core {moment}", statistics.median(speeds), "million loops/s")


def show(rows: list[Row]) -> None:
    """Print the table."""
    table = Table(title="Measured on this machine")
    for name in ("what", "measured", "must reach", "", "detail"):
        table.add_column(name, justify="right" if name in {"measured", "must reach"} else "left")
    for row in rows:
        sign = "≥" if row.more_is_better else "≤"
        target = "" if row.target is None else f"{sign} {number(row.target)} {row.unit}"
        mark = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}[row.holds]
        detail = ", ".join(
            f"{k} {number(v) if isinstance(v, (int, float)) else v}" for k, v in row.detail.items()
        )
        table.add_row(row.what, f"{number(row.measured)} {row.unit}", target, mark, detail)
    Console(width=max(Console().width, 140)).print(table)


def write(path: Path, rows: list[Row]) -> None:
    """Keep the rows with what machine they were measured on."""
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {
            "cores": os.cpu_count(),
            "load_1min": os.getloadavg()[0],
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        },
        "rows": [asdict(row) | {"holds": row.holds} for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def number(value: float) -> str:
    """Write a number with three significant digits, or whole when large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def percentile(values: list[float], share: float) -> float:
    """Return the nearest-rank percentile, `share` in [0, 1]."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
