"""Who is measured, on what, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from bench.train.environments import OURS

BASIC, CENTER, HEALTH = "basic", "defend_the_center", "health_gathering"
DEATHMATCH = "deathmatch_shotgun"


@dataclass(frozen=True)
class Scenario:
    """What a score means, how often contestants are judged, and the score that counts as solved.

    `dqn_bar` is the one for algorithms that learn values of actions, which take longer. `seeds` is
    the most that are worth the time.
    """

    name: str
    unit: str
    evaluate_every_s: float
    bar: float
    dqn_bar: float
    seeds: int = 3


SCENARIOS: MappingProxyType[str, Scenario] = MappingProxyType(
    {
        row.name: row
        for row in (
            Scenario(BASIC, "mean return", 5.0, 75.0, 70.0),
            Scenario(CENTER, "kills", 10.0, 10.0, 10.0),
            Scenario(HEALTH, "tics survived", 20.0, 1500.0, 1500.0),
            Scenario(DEATHMATCH, "kills per death against 4 bots", 60.0, 1.0, 1.0, seeds=1),
        )
    }
)


@dataclass(frozen=True)
class Contestant:
    """A command that prints the JSON lines of `bench.train.peers.report`.

    `caps` has the seconds that it may take on each scenario that it is measured on. `algorithm` is
    "ppo", "dqn" or, for one that does not learn and needs no seeds, "". The command runs as a
    module in a named environment of `bench.train.environments`.
    """

    name: str
    label: str
    algorithm: str
    module: str
    caps: dict[str, float]
    options: tuple[str, ...] = ()
    environment: str = OURS
    color: str = ""

    def arguments(self, scenario: str, seed: int, cap_s: float) -> list[str]:
        """Compose the arguments of its command."""
        if not self.algorithm:
            return [*self.options, scenario]
        every_s = SCENARIOS[scenario].evaluate_every_s
        named = ["--seed", str(seed), "--cap", str(cap_s), "--evaluate-every", str(every_s)]
        return [*self.options, scenario, *named]

    def bar(self, scenario: str) -> float:
        """Answer the score that counts as solved."""
        row = SCENARIOS[scenario]
        return row.dqn_bar if self.algorithm == "dqn" else row.bar


_FACTORY = "bench.train.peers.sample_factory"
_SB3 = "bench.train.peers.sb3"
_BY_HAND = "bench.train.peers.double_dqn"
_OURS = "bench.train.elodrome"
# In seconds; one that does not learn ends by itself.
_RAW = {BASIC: 60.0, CENTER: 60.0}

_ROWS = (
    Contestant("raw_1", "ViZDoom alone, 1 game", "", "bench.train.raw", _RAW, ("--games", "1")),
    Contestant("raw_2", "ViZDoom alone, 2 games", "", "bench.train.raw", _RAW, ("--games", "2")),
    Contestant("oracle", "script told where to aim", "", "bench.train.oracle", {BASIC: 60.0}),
    Contestant(
        *("sample_factory", "Sample Factory APPO", "ppo", _FACTORY),
        {BASIC: 160.0, CENTER: 240.0},
        environment="sample-factory",
        color="#d95f02",
    ),
    Contestant(
        *("sample_factory_1024", "Sample Factory APPO, batch 1024", "ppo", _FACTORY),
        {BASIC: 60.0},
        ("--batch-size", "1024", "--no-evaluation"),
        environment="sample-factory",
    ),
    Contestant(
        *("sb3_ppo", "Stable-Baselines3 PPO", "ppo", _SB3),
        {BASIC: 120.0, CENTER: 180.0},
        ("ppo",),
        environment="sb3",
        color="#7570b3",
    ),
    Contestant(
        *("sb3_dqn", "Stable-Baselines3 DQN", "dqn", _SB3),
        {BASIC: 180.0},
        ("dqn",),
        environment="sb3",
        color="#66a61e",
    ),
    Contestant(
        *("double_dqn", "hand-written double DQN", "dqn", _BY_HAND),
        {BASIC: 180.0},
        environment="sb3",
        color="#e7298a",
    ),
    Contestant("elodrome_sampler", "Elodrome, random play", "", "bench.train.sampler", _RAW),
    Contestant(
        *("elodrome_ppo", "Elodrome PPO", "ppo", _OURS),
        {BASIC: 60.0, CENTER: 600.0, HEALTH: 900.0, DEATHMATCH: 7200.0},
        ("PPO",),
        color="#1b6ca8",
    ),
    Contestant(
        *("elodrome_ppo_large", "Elodrome PPO, 250,000 parameters", "ppo", _OURS),
        {BASIC: 60.0},
        ("PPO", "--large"),
    ),
    Contestant(
        *("elodrome_dqn", "Elodrome DQN", "dqn", _OURS),
        {BASIC: 120.0},
        ("DQN",),
        color="#17a2b8",
    ),
)

CONTESTANTS: MappingProxyType[str, Contestant] = MappingProxyType({row.name: row for row in _ROWS})
