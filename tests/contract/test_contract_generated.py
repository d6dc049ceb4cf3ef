"""What is generated matches its source, and the contract keeps its own rules."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_generated_code_matches_protos() -> None:
    run("scripts/proto.sh", "--check")


def test_what_is_made_from_the_chart_matches_it() -> None:
    run(sys.executable, "scripts/chart.py", "--check")


def test_protos_pass_buf_lint() -> None:
    run("scripts/proto.sh", "--check")
    run(str(BIN / "buf"), "lint")


def test_import_boundaries_hold() -> None:
    run(str(BIN / "lint-imports"))


def test_code_is_clean() -> None:
    run(str(BIN / "ruff"), "check", ".")
    run(str(BIN / "ruff"), "format", "--check", ".")


def test_modules_stay_short() -> None:
    tracked = run("git", "ls-files", "*.py").split()
    long = {
        name: lines
        for name in tracked
        if not name.startswith("gen/")
        and (ROOT / name).exists()
        and (lines := len((ROOT / name).read_text().splitlines())) > 400
    }
    assert not long


def test_every_dependency_is_explained_and_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = chain(project["dependencies"], *project["optional-dependencies"].values())
    names = {name.split("[")[0].lower() for name in listed} - {"elodrome"}
    reasons = (ROOT / "docs" / "dependencies.md").read_text().lower()
    pins = (ROOT / "constraints.txt").read_text().lower().replace("_", "-")
    assert {name for name in names if name not in reasons} == set()
    assert {name for name in names if f"{name}==" not in pins} == set()
