"""Named places where a test makes the process die, as a machine would: at once, mid-work.

ELODROME_FAILPOINT="after-upload-before-commit:kill@3" is SIGKILL at the third time around; `stop`
is SIGSTOP; several points are separated by commas.
"""

from __future__ import annotations

import os
import signal
from collections import Counter

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_hits: Counter[str] = Counter()


def hit(name: str) -> None:
    """Act here if the environment asks for it."""
    _hits[name] += 1
    for wanted in os.environ.get("ELODROME_FAILPOINT", "").split(","):
        point, _, fault = wanted.partition(":")
        action, _, hits = fault.partition("@")
        if point == name and _hits[name] == int(hits or 1):
            os.kill(os.getpid(), _SIGNALS[action])
