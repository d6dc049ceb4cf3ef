"""What an idle install holds in memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from bench.report import Row

if TYPE_CHECKING:
    from bench.install import Install

SETTLE_S = 40


async def measure(install: Install) -> list[Row]:
    """Report resident memory of all processes, and the share that is not counted twice."""
    await asyncio.sleep(SETTLE_S)
    resident = 0
    proportional = 0
    by_name: dict[str, float | int | str] = {}
    for process in install.processes():
        memory = process.memory_full_info()
        resident += memory.rss
        proportional += memory.pss
        name = next((a for a in process.cmdline() if a.startswith("services.")), process.name())
        by_name[name] = round(float(by_name.get(name, 0)) + memory.rss / 1e6, 1)
    return [
        Row("idle install, resident", resident / 1e6, "MB", 900, detail=by_name),
        Row("idle install, shared pages counted once", proportional / 1e6, "MB"),
    ]
