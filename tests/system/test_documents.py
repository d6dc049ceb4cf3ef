"""Every command that a document shows is a command that works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.stack import Stack

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md")
FOLDERS = ("services", "trainer", "referee", "deploy", "docker", "sdk", "bench", "docs")
_FENCE = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
_PORT = re.compile(r"\b(8080|5005[0-4])\b")


def documents() -> list[Path]:
    """Return every document of the project."""
    below = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md")]
    return [ROOT / name for name in DOCUMENTS] + sorted(below)


BLOCKS = [
    pytest.param(block, id=f"{path.relative_to(ROOT)}:{number}")
    for path in documents()
    for number, block in enumerate(_FENCE.findall(path.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("block", BLOCKS)
def test_commands_work(stack: Stack, block: str) -> None:
    ports = stack.install.ports
    names = {"8080": "http", "50050": "gateway", "50051": "registry", "50052": "executor"}
    names |= {"50053": "evaluator", "50054": "sessions"}
    # Make would start what runs already, or these very tests: that the target is there must do.
    commands = re.sub(r"^make ", "make --dry-run ", block, flags=re.MULTILINE)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _PORT.sub(lambda m: str(ports[names[m[0]]]), commands)],
        cwd=ROOT,
        env=os.environ
        | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "TOKEN": stack.admin().headers["authorization"].removeprefix("Bearer "),
            "ELODROME_URL": stack.install.url,
            "PASSWORD": stack.install.admin_password,
            "XDG_CONFIG_HOME": str(stack.home / "config"),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)} → {link}"
        for path in documents()
        for link in _LINK.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / link).exists()
    ]
    assert broken == []
