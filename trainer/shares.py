"""One checkpoint of several learners: what they hold alike once, everything else for each of them.

The first learner's groups go by their own names, so a player finds the network where it always is;
learner r's are within the group `learner-r`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from trainer import checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from trainer.checkpoint import Tensors
    from trainer.peers import Peers

# What updates that average gradients keep the same for all.
ALIKE = ("network", "latest", "target", "optimizer", "counts", "opponents")


class DriftError(RuntimeError):
    """Learners that should hold the same weights do not: their machines do not compute alike."""


def joined(groups: Mapping[str, Tensors], peers: Peers) -> Tensors:
    """Bring the groups of all learners together, for the first of them to save.

    Raises DriftError there where the learners do not agree on what they hold alike.
    """
    if peers.size == 1:
        return checkpoint.grouped(**groups)
    own = {name: tensors for name, tensors in groups.items() if name not in ALIKE}
    alike = checkpoint.grouped(**{name: groups[name] for name in groups.keys() - own.keys()})
    everyone = peers.collect((_digest(alike), checkpoint.grouped(**own)))
    if len({digest for digest, _ in everyone}) > 1:
        raise DriftError("the learners hold different weights")
    shares = {f"learner-{rank}": share for rank, (_, share) in enumerate(everyone) if rank}
    return checkpoint.grouped(**groups, **shares)


def share(path: Path, rank: int) -> Tensors:
    """Read what another learner than the first goes on from, named as if it were the first."""
    alike = {name: checkpoint.read_group(path, name) for name in ALIKE}
    return {**checkpoint.grouped(**alike), **checkpoint.read_group(path, f"learner-{rank}")}


def _digest(tensors: Tensors) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].tobytes())
    return digest.digest()
