"""What the demo looks like: live on a terminal, plain lines everywhere else."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BARS = "▁▂▃▄▅▆▇█"
_LINE_EVERY_S = 5.0
_DONE_PERCENT = 100


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Draw numbers as a row of bars: each is the mean of an equal share of the values."""
    if not values:
        return ""
    width = min(width, len(values))
    bounds = [round(i * len(values) / width) for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(bounds)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def clock(seconds: float) -> str:
    """Write a duration as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


class Meter:
    """A line of figures, printed every few seconds and once at the end."""

    def __init__(self, display: Display, title: str) -> None:
        self._display = display
        self._title = title
        self._printed = 0.0
        self._percent = 0.0

    def update(self, percent: float, figures: str) -> None:
        """Show how far it is, 0 to 100, and the figures of the moment."""
        is_done = percent >= _DONE_PERCENT > self._percent
        if is_done or time.monotonic() - self._printed >= _LINE_EVERY_S:
            self._printed, self._percent = time.monotonic(), percent
            self._display.line(f"   {self._title} {percent:3.0f} %  {figures}")


class LiveMeter(Meter):
    """A bar that moves, with the figures of the moment below it."""

    def __init__(self, display: Display, title: str, live: Live) -> None:
        super().__init__(display, title)
        columns = (TextColumn("   {task.description}"), BarColumn(40), TaskProgressColumn())
        self._live = live
        self._bar = Progress(*columns)
        self._task = self._bar.add_task(title, total=_DONE_PERCENT)

    def update(self, percent: float, figures: str) -> None:
        """Show how far it is, 0 to 100, and the figures of the moment."""
        self._bar.update(self._task, completed=percent)
        self._live.update(Group(self._bar, Text(f"   {figures}")))


class Display:
    """Where the story is told."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)

    def line(self, text: str) -> None:
        """Print one line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)

    def step(self, number: int, count: int, title: str) -> None:
        """Open a step of the story."""
        self._console.print(f"\n[bold]{number}/{count} {title}[/bold]")

    def fact(self, text: str) -> None:
        """Tell something that was read back from the platform."""
        self.line(f"   ✓ {text}")

    @contextmanager
    def meter(self, title: str) -> Iterator[Meter]:
        """Show a bar while something runs."""
        if not self._console.is_terminal:
            yield Meter(self, title)
            return
        with Live(console=self._console, refresh_per_second=4) as live:
            yield LiveMeter(self, title, live)

    def summary(self, rows: Sequence[tuple[str, str, float]], total_s: float) -> None:
        """Print the table of everything that was measured; the last column is in seconds."""
        table = Table(title="What happened", title_justify="left")
        table.add_column("step")
        table.add_column("measured", overflow="fold")
        table.add_column("seconds", justify="right")
        for title, measured, seconds in rows:
            table.add_row(title, measured, f"{seconds:.1f}")
        table.add_section()
        table.add_row("the whole story", "", f"{total_s:.1f}")
        self._console.print()
        self._console.print(table)
