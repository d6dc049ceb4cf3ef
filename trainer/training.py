"""What every algorithm shares: windows that are played while the one before is learned from.

A step is one decision of one game; an iteration is a window of `rollout_steps` steps of every game
and what is learned from it. While the actors play window k, the learner learns from window k - 1,
so k is played with weights that know the windows up to k - 2. That order is fixed: no result
depends on who is faster. Where a checkpoint is due both sides run dry, and all games begin anew
with seeds that derive from the iteration, so that a training which goes on from the checkpoint is
the same as one that was never interrupted.

Several learners each go through all of this with games of their own. They agree on what is asked
for, average what they learn from, and bring their numbers together; the first one's reporter is the
only one that is told anything.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from trainer import checkpoint, shares
from trainer import config as run_config
from trainer.checkpoint import Manifest
from trainer.maps import MapPlan
from trainer.meter import Meter, mean_facts
from trainer.peers import ALONE
from trainer.reporter import Reporter, Request
from trainer.seeds import evaluation_seed, learning_generator
from trainer.signature import check_signature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainer.actor import Episode
    from trainer.checkpoint import Tensors
    from trainer.config import Config
    from trainer.games import GameSetup
    from trainer.networks import Network
    from trainer.peers import Peers
    from trainer.players import Players
    from trainer.self_play import Opponents

logger = logging.getLogger("trainer.training")


class Algorithm(Protocol):
    """What an algorithm has to know and to do."""

    @property
    def network(self) -> Network:
        """What learns, and what the actors play with."""
        ...

    @property
    def player(self) -> Network:
        """What is judged, and what opponents are made of; it may be the same."""
        ...

    def exploration(self, step: int) -> float:
        """Say how much to explore from `step` on, as the algorithm's behaviour understands it."""
        ...

    def learn(self, iteration: int, generator: np.random.Generator) -> Mapping[str, float]:
        """Learn once the window of `iteration` lies in the ring; answers metrics by name.

        The window after it may be under way: its slots are not to be read, but for what belongs to
        the first step of it.
        """
        ...

    def state(self) -> dict[str, Tensors]:
        """Copy all that the future depends on beside the weights, as groups of named arrays."""
        ...

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds."""
        ...

    def description(self) -> dict[str, Any]:
        """Describe the network, so that a player can be built from a checkpoint."""
        ...


class Training:
    """One run: where it stands, and how it goes on."""

    def __init__(
        self,
        config: Config,
        game: GameSetup,
        algorithm: Algorithm,
        players: Players,
        reporter: Reporter,
        *,
        opponents: Opponents | None = None,
        peers: Peers = ALONE,
    ) -> None:
        """Stand at the beginning; `players` may be shared by nobody else.

        With `opponents` it is a training in self-play, and they are joined by each checkpoint.
        """
        self._config = config
        self._game = game
        self._algorithm = algorithm
        self._players = players
        self._reporter = reporter
        self._opponents = opponents
        if opponents is not None:
            opponents.add(0, algorithm.player)
        self._peers = peers
        self._generator = learning_generator(config.seed, peers.rank)
        self._iteration = 0
        self._maps = MapPlan(config)
        self._meter = Meter()
        self._seeds = [evaluation_seed(config.seed, nth) for nth in range(config.eval_episodes)]

    @property
    def iteration(self) -> int:
        """Iterations done."""
        return self._iteration

    @property
    def steps(self) -> int:
        """Steps of all games together so far."""
        return self._iteration * self._config.steps_per_iteration

    def run(self, *, until: int | None = None) -> Request:
        """Train to the end, or to iteration `until`, or until the reporter asks otherwise.

        Answers what was asked. Every checkpoint_interval iterations and at the end the network is
        judged and saved.
        """
        self._lead("run", until)
        end = self._config.iterations if until is None else until
        self._tell_maps()
        while self._iteration < end:
            request = self._stretch(min(self._next_checkpoint(), end))
            if request is Request.CANCEL:
                return request
            self._save(self._judge() if self._is_due() else {})
            if request is not Request.GO_ON:
                return request
        return Request.GO_ON

    def dismiss(self) -> None:
        """Let the other learners go; they follow until then."""
        self._lead("end")

    def follow(self) -> None:
        """Be one of the other learners: do what the first is told to do, until it says the end."""
        while (order := self._peers.share())[0] != "end":
            if order[0] == "run":
                self.run(until=order[1])
            else:
                self._load_share()

    def _lead(self, *order: str | int | None) -> None:
        """Tell the other learners, if this is the first, what is done next."""
        if self._peers.rank == 0:
            self._peers.share(order)

    def _load_share(self) -> None:
        manifest, tensors = self._peers.receive(0)
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "share.safetensors"
            checkpoint.write(path, manifest, tensors)
            self._take_over(path, manifest)

    def _is_due(self) -> bool:
        """Tell whether this iteration is one to judge the network at, whoever asks for what."""
        is_last = self._iteration == self._config.iterations
        return is_last or self._iteration % self._config.checkpoint_interval == 0

    def _next_checkpoint(self) -> int:
        interval = self._config.checkpoint_interval
        return min((self._iteration // interval + 1) * interval, self._config.iterations)

    def _stretch(self, end: int) -> Request:
        """Play and learn from here to iteration `end`, both dry at its ends.

        Answers GO_ON there, or earlier what the reporter asks for.
        """
        self._players.publish(self._algorithm.network)
        self._players.choose(self._maps.trained)
        self._players.restart(self._iteration)
        request = self._request()
        if request is not Request.GO_ON:
            return request
        self._players.start(self._iteration, self._exploration(0))
        while True:
            self._take(self._players.wait())
            request = self._request()
            is_last = self._iteration + 1 == end or request is not Request.GO_ON
            if not is_last:
                # What was learned meanwhile; the window that has just been played comes next.
                self._players.publish(self._algorithm.network)
                self._players.start(self._iteration + 1, self._exploration(1))
            if request is Request.CANCEL:
                return request
            self._learn()
            if is_last:
                return request

    def _request(self) -> Request:
        """Ask the first learner's reporter, so that all learners do the same."""
        return self._peers.share(None if self._peers.rank else self._reporter.request())

    def _exploration(self, ahead: int) -> float:
        return self._algorithm.exploration(self.steps + ahead * self._config.steps_per_iteration)

    def _take(self, episodes: Sequence[Episode]) -> None:
        self._meter.add_window(self._config.steps_per_iteration, episodes)
        if self._opponents is not None:
            self._opponents.meet(episodes)

    def _learn(self) -> None:
        self._meter.add(self._algorithm.learn(self._iteration, self._generator))
        self._iteration += 1
        self._report("training")
        if self._iteration % self._config.metrics_interval == 0:
            self._log()

    def _report(self, phase: str) -> None:
        self._reporter.progress(iteration=self._iteration, step=self.steps, phase=phase)

    def _log(self) -> None:
        values = self._meter.take(self._peers)
        values["iteration"] = float(self._iteration)
        values["engine_crashes"] = float(sum(self._peers.gathered(self._players.crashes)))
        if self._config.curriculum:
            values["curriculum_stage"] = float(self._maps.stage)
        self._reporter.log(self.steps, values)

    def _judge(self) -> dict[str, float]:
        """Evaluate, and change what comes next by that; answers the metrics."""
        values = self._evaluate()
        self._reporter.log(self.steps, values)
        maps = ", ".join(self._maps.judged)
        reached = values["eval_return"]
        logger.info("iteration %d: judged on %s, eval_return %g", self._iteration, maps, reached)
        if self._maps.advance(reached):
            self._tell_maps()
        if self._opponents is not None:
            self._opponents.add(self._iteration, self._algorithm.player)
        return values

    def _evaluate(self) -> dict[str, float]:
        """Play eval_episodes greedy episodes on every test map, the same ones every time."""
        self._report("evaluation")
        self._players.publish(self._algorithm.player)
        episodes = self._play_judged()
        scores = [episode["score"] for episode in episodes]
        values = {"eval_return": float(np.mean(scores)), "eval_return_std": float(np.std(scores))}
        if len(self._maps.judged) > 1:
            of_maps = np.reshape(scores, (-1, len(self._seeds))).mean(axis=1).tolist()
            names = (f"eval_return/{name}" for name in self._maps.judged)
            values |= dict(zip(names, of_maps, strict=True))
        facts = {f"eval_{name}": value for name, value in mean_facts(episodes).items()}
        return values | facts

    def _play_judged(self) -> list[Episode]:
        """Play the episodes, shared out among all learners; answers them map by map."""
        self._players.choose(self._maps.judged)
        seeds = self._seeds[self._peers.rank :: self._peers.size]
        found: list[list[Episode]] = [[] for _ in self._maps.judged]
        for episodes in self._peers.gathered(self._players.evaluate(seeds)):
            count = len(episodes) // len(found)
            for nth, of_map in enumerate(found):
                of_map.extend(episodes[nth * count : (nth + 1) * count])
        return [episode for of_map in found for episode in of_map]

    def _tell_maps(self) -> None:
        stage = f"stage {self._maps.stage}, " if self._config.curriculum else ""
        maps = ", ".join(self._maps.trained)
        logger.info("iteration %d: %strained on %s", self._iteration, stage, maps)

    def _save(self, metrics: dict[str, float]) -> None:
        """Save all that the future depends on; the latest metrics go out with it."""
        if self._iteration % self._config.metrics_interval:
            self._log()
        self._report("checkpoint")
        groups = {
            "rng": {"generator": checkpoint.generator_state(self._generator)},
            **self._algorithm.state(),
        }
        if self._opponents is not None:
            groups["opponents"] = self._opponents.pool.state()
        self._reporter.save(self._manifest(), shares.joined(groups, self._peers), metrics)
        # Whatever is not in the checkpoint begins anew with it, for whoever goes on from here too.
        self._meter.clear()

    def load(self, path: Path) -> None:
        """Stand where the training that wrote the checkpoint stood.

        Raises CheckpointError where it does not fit or belongs to another config.
        """
        manifest = checkpoint.read_manifest(path)
        check_signature(manifest, self._manifest())
        self._check_config(manifest)
        self._lead("load")
        for rank in range(1, self._peers.size):
            self._peers.send((manifest, shares.share(path, rank)), rank)
        self._take_over(path, manifest)

    def _take_over(self, path: Path, manifest: Manifest) -> None:
        self._algorithm.load(path)
        rng = checkpoint.read_group(path, "rng")
        checkpoint.set_generator_state(self._generator, rng["generator"])
        if self._opponents is not None:
            self._opponents.pool.load(checkpoint.read_group(path, "opponents"))
        self._iteration = manifest.iteration
        self._maps.stage = manifest.stage

    def _check_config(self, manifest: Manifest) -> None:
        """Compare configs as this program reads them: an older one lacks the newer fields."""
        try:
            written = run_config.parse(manifest.config)
        except run_config.ConfigError as error:
            raise checkpoint.CheckpointError(
                f"the checkpoint's config is unknown: {error}"
            ) from error
        if written != self._config:
            raise checkpoint.CheckpointError("the checkpoint was written under another config")

    def _manifest(self) -> Manifest:
        config, game = self._config, self._game
        network = self._algorithm.description()
        return Manifest(
            algorithm=config.algorithm,
            game=config.game,
            scenario=config.scenario,
            action_combinations=game.action_combinations,
            action_count=game.action_count,
            observation_shape=game.space.shape,
            observation=dict(game.observation),
            frame_skip=config.frame_skip,
            recurrent=network["arguments"]["recurrent"],
            network=network,
            config=config.to_mapping(),
            iteration=self._iteration,
            steps=self.steps,
            stage=self._maps.stage,
        )
