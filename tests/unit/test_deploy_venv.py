"""What a machine lacks is said in words before anything is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "venv.sh"


def run_with(tmp_path: Path, python: str) -> subprocess.CompletedProcess[str]:
    """Run the installer where `python3` is this shell script and nothing else is a Python."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("bash", "sh", "dirname", "mkdir", "flock"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    (programs / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (programs / "python3").chmod(0o755)
    (tmp_path / "scripts").mkdir()
    copy = shutil.copy(SCRIPT, tmp_path / "scripts")
    return subprocess.run(
        [copy], env={"PATH": str(programs)}, capture_output=True, text=True, check=False
    )


def test_an_old_python_is_named(tmp_path: Path) -> None:
    old = 'case "$1" in --version) echo Python 3.9.2;; *) exit 1;; esac'
    refused = run_with(tmp_path, old)
    assert refused.returncode == 1
    assert "needs Python 3.11 or later; found Python 3.9.2" in refused.stderr
    assert not (tmp_path / ".venv").exists()


def test_a_python_without_venv_is_told_the_package(tmp_path: Path) -> None:
    bare = 'case "$2" in *ensurepip*) exit 1;; *) exit 0;; esac'
    refused = run_with(tmp_path, bare)
    assert refused.returncode == 1
    assert "apt-get install python3-venv" in refused.stderr
    assert not (tmp_path / ".venv").exists()
