"""Named places where a test makes the process die, to prove that nothing is lost there.

`ELODROME_FAILPOINT="outbox.after_publish:kill@3"` sends SIGKILL to this process at the third hit;
`stop` sends SIGSTOP. Several points are separated by commas. Unset, a hit costs one lookup.
"""

from __future__ import annotations

import os
import re
import signal

_SPEC = re.compile(r"(?P<name>[a-z0-9_.-]+):(?P<action>kill|stop)(?:@(?P<hit>[1-9][0-9]*))?")
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class _Point:
    def __init__(self, action: str, hits_left: int) -> None:
        self.action = action
        self.hits_left = hits_left


def parse(spec: str) -> dict[str, _Point]:
    """Read the setting; raise ValueError naming the part that is wrong."""
    points = {}
    for part in filter(None, spec.split(",")):
        match = _SPEC.fullmatch(part)
        if match is None:
            message = f"ELODROME_FAILPOINT: {part!r} is not of the form name:kill@3"
            raise ValueError(message)
        points[match["name"]] = _Point(match["action"], int(match["hit"] or 1))
    return points


_points = parse(os.environ.get("ELODROME_FAILPOINT", ""))


def hit(name: str) -> None:
    """Count a pass through this place, and act when the setting says so."""
    point = _points.get(name)
    if point is None:
        return
    point.hits_left -= 1
    if point.hits_left == 0:
        os.kill(os.getpid(), _SIGNALS[point.action])
