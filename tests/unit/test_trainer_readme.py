from __future__ import annotations

import re
from pathlib import Path

TRAINER = Path(__file__).parents[2] / "trainer"


def test_the_page_names_every_file_once() -> None:
    text = (TRAINER / "README.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`[^|]*\.py`[^|]*)\|(.*)\|$", text, re.MULTILINE)
    named = [name for row in table for cell in row for name in re.findall(r"`(\w+\.py)`", cell)]
    files = [path.name for path in TRAINER.glob("*.py") if not path.name.startswith("__")]
    assert sorted(named) == sorted(files)
