"""The agent that is kept beside the benchmark's results is as good as its row says."""

from __future__ import annotations

from bench.train.__main__ import RESULTS
from bench.train.contestants import DEATHMATCH
from bench.train.elodrome import judge
from bench.train.peers.doom import EVALUATION_SEEDS
from trainer import checkpoint
from trainer.config import parse
from trainer.policy import load


def test_the_published_deathmatch_agent_kills_more_often_than_it_dies() -> None:
    path = RESULTS.with_name(f"{DEATHMATCH}.safetensors")
    config = parse(checkpoint.read_manifest(path).config)
    assert (config.scenario, config.bots) == (DEATHMATCH, 4)
    assert judge(load(path), config, EVALUATION_SEEDS[:6]) > 1
