"""Named places where a test may have the process die, as a machine would: at once, mid-work.

ELODROME_FAILPOINT="after-upload-before-commit:kill@3" is SIGKILL at the third time around.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_hits: Counter[str] = Counter()


def hit(name: str) -> None:
    """Die here if the environment asks for it."""
    _hits[name] += 1
    wanted, _, fault = os.environ.get("ELODROME_FAILPOINT", "").partition(":")
    if wanted == name and fault == f"kill@{_hits[name]}":
        os.kill(os.getpid(), signal.SIGKILL)
