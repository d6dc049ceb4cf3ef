"""`python -m bench.train.publish`: keep an agent that the comparison trained, and its curve.

Of the checkpoint only what plays is kept, beside the results; `elodrome import` takes both files.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from bench.train.__main__ import RESULTS, read
from bench.train.contestants import DEATHMATCH, SCENARIOS
from bench.train.environments import BUILD
from trainer import checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bench.train.curves import Point

CONTESTANT = "elodrome_ppo"


def main() -> None:
    """Keep the last checkpoint of a run."""
    parser = argparse.ArgumentParser(prog="bench.train.publish", description=__doc__)
    parser.add_argument("--scenario", default=DEATHMATCH, choices=list(SCENARIOS))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    key = (CONTESTANT, arguments.scenario, arguments.seed)
    run = next((run for run in read(RESULTS) if run.key == key), None)
    files = list((BUILD / "runs" / "-".join(map(str, key))).glob("*.safetensors"))
    if run is None or not files:
        sys.exit(f"{arguments.scenario}, seed {arguments.seed}: run it first, on this machine")
    last = max(files, key=lambda path: int(path.stem))
    kept = RESULTS.with_name(f"{arguments.scenario}.safetensors")
    digest = publish(last, kept, run.points)
    print(f"{kept}: SHA-256 {digest}, score {run.points[-1].score:g}")


def publish(source: Path, kept: Path, curve: Iterable[Point]) -> str:
    """Write the network of `source` to `kept` and the curve beside it; answers the SHA-256."""
    weights = checkpoint.grouped(network=checkpoint.read_group(source, "network"))
    digest = checkpoint.write(kept, checkpoint.read_manifest(source), weights)
    lines = [{"step": point.steps, "values": {"eval_score": point.score}} for point in curve]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    kept.with_suffix(".jsonl").write_text(text, encoding="utf-8")
    return digest


if __name__ == "__main__":
    main()
