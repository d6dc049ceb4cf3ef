"""An engine process never outlives the process that plays it, not even after a SIGKILL."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import vizdoom


def write_launcher(directory: Path) -> Path:
    """Write a script that starts the engine inside `directory`, tied to the life of its starter.

    The engine litters its working directory and survives a killed controller, so the script
    changes the directory and asks the kernel for a SIGKILL when the starting thread dies. ViZDoom
    keeps that thread until the game closes. Without setpriv (not Linux) only the directory is
    changed.
    """
    engine = Path(vizdoom.scenarios_path).with_name("vizdoom")
    tied = "setpriv --pdeathsig KILL -- " if shutil.which("setpriv") else ""
    script = directory / "engine"
    change = f"cd {shlex.quote(str(directory))}"
    script.write_text(f'#!/bin/sh\n{change} && exec {tied}{shlex.quote(str(engine))} "$@"\n')
    script.chmod(0o700)
    return script


def pin_thread(core: int) -> None:
    """Keep the calling thread, and the engines it will start, on one of this process's cores.

    Engine and controller hand over twice a decision; across two cores each hand-over pays a wake-up
    and a lone game runs at a third of its speed. `core` counts modulo the cores there are.
    """
    available = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {available[core % len(available)]})
