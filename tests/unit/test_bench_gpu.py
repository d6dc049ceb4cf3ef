from __future__ import annotations

import pytest

from bench.gpu import ENDLESS, TRAININGS
from trainer.config import parse


@pytest.mark.parametrize("name", TRAININGS)
def test_trainings_are_what_their_names_say(name: str) -> None:
    """They run where there is a GPU alone, so a setting that was renamed is seen here."""
    config = parse({**ENDLESS, **TRAININGS[name]})
    assert name.startswith(config.algorithm)
    assert (config.gpu_id == -1) == ("CPU" in name)
    assert (config.precision == "bfloat16") == ("bfloat16" in name)
    assert (config.network_type == "lstm") == ("LSTM" in name or config.algorithm == "DRQN")
    assert config.prioritised == ("prioritised" in name)
    assert config.actors == (8 if "8 actors" in name or "large" in name else 2)
