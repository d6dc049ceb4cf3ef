"""What Jobs of a kind of run differ in; one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from services.executor.states import RunType

if TYPE_CHECKING:
    from services.executor.drivers.driver import Launch

MAX_SEATS = 16
_DEADLINE_MARGIN_S = 600


class Kind(NamedTuple):
    """What Jobs of a kind of run differ in.

    `role` is who its pods are to NetworkPolicies, `priority` whose PriorityClass they have.
    `deadline_s` holds where the run has no limit. `subject` is the label of the match or submission
    that a Job is about, if it is about one. Such a Job takes `deadline_s` at most, waits in no
    queue, where its agents would wait for it at work, and ends with whatever its pod ends with.
    """

    role: str
    priority: str
    deadline_s: int | None
    ttl_s: int
    grace_s: int
    may_use_gpu: bool = False
    subject: str = ""


_TRAINER = Kind("trainer", "trainer", None, 86400, 120, may_use_gpu=True)
_REFEREE = Kind("referee", "referee", 7200, 3600, 30)
_KINDS = {
    RunType.TRAINING: _TRAINER,
    RunType.CERTIFICATION: _TRAINER,
    RunType.EVALUATION: _REFEREE,
    RunType.TESTING: _REFEREE,
    # Half as much again as the five minutes that a match may take.
    RunType.MATCH: Kind("referee", "match", 450, 600, 5, subject="elo/match"),
    RunType.BUILD: Kind("referee", "build", 900, 3600, 5, subject="elo/submission"),
}


def kind_of(launch: Launch) -> Kind:
    """Return the kind of a launch; raise ValueError for what no launch of the kind can have."""
    kind = _KINDS.get(launch.kind)
    if kind is None:
        raise ValueError(f"kind: a run of type {launch.kind} has no worker")
    if not 0 <= launch.seats <= (MAX_SEATS if kind.subject else 0):
        rule = f"0 to {MAX_SEATS} for a match or a build and 0 for others"
        raise ValueError(f"seats: {launch.seats} must be {rule}")
    if bool(launch.subject_id) != bool(kind.subject):
        raise ValueError("subject_id: must name a match or a submission, and only for one")
    if launch.seats and launch.learners > 1:
        raise ValueError("learners: must be 1 where there are seats")
    return kind


def deadline_s(launch: Launch) -> int | None:
    """Return after how long the cluster ends a Job by itself; None is never."""
    kind = kind_of(launch)
    if launch.deadline_s is None:
        return kind.deadline_s
    left_s = max(0, round(launch.deadline_s)) + _DEADLINE_MARGIN_S
    return min(left_s, kind.deadline_s or left_s) if kind.subject else left_s
