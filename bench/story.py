"""The demo's story on an empty home, and a second time on the same one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.install import PORT_OFFSET, ROOT
from bench.report import Row


def measure() -> list[Row]:
    """Report how long the story takes and how well its agent plays."""
    home = Path(tempfile.mkdtemp(prefix="elodrome-bench-"))
    variables = {"ELODROME_HOME": str(home), "ELODROME_PORT_OFFSET": str(PORT_OFFSET)}
    try:
        first_s, summary = _tell(home, variables)
        second_s, _ = _tell(home, variables)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    detail: dict[str, float | int | str] = {"second time s": second_s}
    return [
        Row("demo story, empty home", first_s, "s", 360, detail=detail),
        Row("agent's mean return on basic", summary["mean_return"], "", 70, more_is_better=True),
    ]


def _tell(home: Path, variables: dict[str, str]) -> tuple[float, dict[str, float]]:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "deploy.laptop", "demo", "--exit"]
    subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=True)
    seconds = time.perf_counter() - begin
    return seconds, json.loads((home / "demo.json").read_text(encoding="utf-8"))
