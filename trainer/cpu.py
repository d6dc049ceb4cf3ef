"""What a worker costs: CPU seconds of its own and of everything it started."""

from __future__ import annotations

import psutil


def cpu_seconds() -> float:
    """Add up this process, all below it that live, and those that ended and were waited for.

    A process that ends while this looks is missing until its parent has waited for it, so the
    answer may fall short for a moment and never says too much.
    """
    this = psutil.Process()
    # Parents come first: what they have of a child that ends meanwhile does not count yet, so no
    # process counts both for itself and in its parent.
    return sum(_used_s(process) for process in (this, *this.children(recursive=True)))


def _used_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system
