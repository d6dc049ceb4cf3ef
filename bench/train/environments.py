"""Virtual environments of the peers, each made from a file of pinned requirements."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / ".build" / "bench-train"
OURS = ""
"""Name of the environment that this process runs in."""


def python_of(name: str) -> Path:
    """Answer the interpreter of an environment, made anew if its requirements have changed."""
    if name == OURS:
        return Path(sys.executable)
    requirements = Path(__file__).with_name(f"requirements-{name}.txt")
    home = BUILD / "environments" / name
    python, installed = home / "bin" / "python", home / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        print(f"… installing the environment of {name}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        # Torch comes first and alone, named exactly: so a build for the CPU alone is taken where
        # there is one, and whatever depends on torch is content with it.
        torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
        for what in ([torch], ["--requirement", str(requirements)]):
            pip = [str(python), "-m", "pip", "install", "-qq", *what]
            subprocess.run(pip, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        installed.write_text(wanted, encoding="utf-8")
    return python
