"""The story of one agent, told through REST alone: each step reads back what it claims."""

from __future__ import annotations

import statistics
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deploy.laptop import demo_duel
from deploy.laptop.demo_client import Client, RefusedError, expect
from deploy.laptop.demo_display import Display, Meter, clock, sparkline

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.laptop.demo_client import Event

SCENARIO = "basic"
STYLE = "marksman"
TRAINING_SEED = 1
FIRST_HELD_OUT_SEED = 1 << 30  # training seeds lie below
HELD_OUT_SEEDS = [FIRST_HELD_OUT_SEED + n for n in range(30)]
SUITE = "basic-held-out"
POLICY = "beats-random"
LEAST_EPISODES = 20
MARGIN = 50.0  # points by which an agent must beat random play, with confidence

_TRAINING_LIMIT_S = 1200
_EVALUATION_LIMIT_S = 300
_ROUNDING = 1e-6


@dataclass
class Curve:
    """What the stream of a training run has told so far."""

    returns: list[float] = field(default_factory=list)
    loss: float = float("nan")
    progress: dict[str, Any] = field(default_factory=dict)
    checkpoints: int = 0

    def take(self, event: Event) -> None:
        """Take one event of the stream in."""
        if event.name == "metrics":
            values = {name: float(value) for name, value in event.data["values"].items()}
            self.loss = values.get("loss", self.loss)
            if "avg_reward" in values:
                self.returns.append(values["avg_reward"])
        elif event.name == "progress":
            self.progress = event.data
        elif event.name == "checkpoint":
            self.checkpoints += 1

    @property
    def percent(self) -> float:
        """How much is done, 0 to 100."""
        return float(self.progress.get("progress_percent", 0))

    def figures(self) -> str:
        """Write the moment as one line."""
        progress = self.progress
        remaining_s = progress.get("estimated_remaining_s")
        parts = [
            f"{progress.get('current_iteration', 0)}/{progress.get('max_iterations', 0)}",
            f"ETA {clock(remaining_s) if remaining_s is not None else '-:--'}",
            f"return {self.returns[-1]:.1f}" if self.returns else "return -",
            f"loss {self.loss:.4f}",
            f"{float(progress.get('steps_per_s', 0)):.0f} steps/s",
            f"{self.checkpoints} checkpoints",
            sparkline(self.returns),
        ]
        return "  ".join(parts)


@dataclass
class Story:
    """One telling: who tells it, what exists by now, and what was measured."""

    url: str
    client: Client
    display: Display
    memory_bytes: Callable[[], int]
    tag: str = field(default_factory=lambda: uuid.uuid4().hex[:6])
    rows: list[tuple[str, str, float]] = field(default_factory=list)
    total_s: float = 0.0
    model: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    random: dict[str, Any] = field(default_factory=dict)
    candidate: dict[str, Any] = field(default_factory=dict)
    version: dict[str, Any] = field(default_factory=dict)
    decision: dict[str, Any] = field(default_factory=dict)

    def tell(self) -> None:
        """Tell every step; raises StoryError or RefusedError at the first that did not happen."""
        began = time.monotonic()
        for number, (title, step) in enumerate(STEPS, start=1):
            self.display.step(number, len(STEPS), title)
            started = time.monotonic()
            measured = step(self)
            self.rows.append((title, measured, time.monotonic() - started))
        self.total_s = time.monotonic() - began
        self.display.summary(self.rows, self.total_s)

    def measurements(self) -> dict[str, float]:
        """Return the numbers of a story that was told; returns in points, `_s` in seconds."""
        agent, random = of_return(self.candidate), of_return(self.random)
        return {
            "story_s": self.total_s,
            "training_s": float(self.run["elapsed_s"]),
            "training_steps": float(self.run["progress"]["step"]),
            "mean_return": agent["mean"],
            "mean_return_lower": agent["lower"],
            "mean_return_upper": agent["upper"],
            "random_mean_return": random["mean"],
            "gate_p_value": p_value(self.decision),
        }

    # -- steps ------------------------------------------------------------------------------

    def sign_in(self) -> str:
        """Sign in as the administrator."""
        self.client.sign_in()
        me = self.client.get("/auth/me")
        expect(me["role"] == "ADMIN", f"the administrator has the role {me['role']}")
        self.display.fact(f"signed in as {me['username'] or me['email']} at {self.url}")
        return "administrator"

    def create_model(self) -> str:
        """Create the model that the agent will be a version of."""
        maps = self.client.get("/maps", name=SCENARIO)["items"]
        expect(maps, f"the catalogue has no map {SCENARIO}")
        body = {
            "name": f"{SCENARIO}-{self.tag}",
            "description": "Shoots the monster before the clock runs out.",
            "map_id": maps[0]["id"],
            "styles": [STYLE],
            "request_id": str(uuid.uuid4()),
        }
        created = self.client.post("/models", body)
        self.model = self.client.get(f"/models/{created['id']}")
        expect(self.model["name"] == body["name"], "the model was not stored")
        expect(not self.model.get("stable_version"), "a new model has a stable version")
        self.display.fact(f"model {self.model['name']} on map {maps[0]['title']!r}")
        return str(self.model["name"])

    def train(self) -> str:
        """Train on the map with everything left at its default, and watch it live."""
        body = {
            "type": "TRAINING",
            "name": f"ppo-{self.tag}",
            "model_id": self.model["id"],
            "map_id": self.model["map_id"],
            "config": {"algorithm": "PPO", "scenario": SCENARIO},
            "seed": TRAINING_SEED,
            "retry_backoff_s": 1,
            "request_id": str(uuid.uuid4()),
        }
        started = self.client.post("/runs", body)
        self.display.fact(f"run {started['name']} is {started['state']}")
        curve, peak_bytes = self._watch_training(started["id"])
        self.run = self.client.get(f"/runs/{started['id']}")
        self._check_run(curve)
        steps = int(self.run["progress"]["step"])
        elapsed_s = float(self.run["elapsed_s"])
        self.display.fact(f"{steps} steps in {clock(elapsed_s)}; curve {sparkline(curve.returns)}")
        return (
            f"{steps} steps, {steps / elapsed_s:.0f} steps/s, {curve.checkpoints} checkpoints, "
            f"attempt {self.run['attempt']}, {peak_bytes / 1e6:.0f} MB with the trainer"
        )

    def find_best(self) -> str:
        """Find the best checkpoint of the run in the registry."""
        path = f"/runs/{self.run['id']}/checkpoints"
        stored = self.client.get(path, page_size=200)
        expect(stored["total"] >= 1, "no checkpoint reached the registry")
        expect(
            all(one["state"] == "COMMITTED" for one in stored["items"]),
            "a checkpoint is not committed",
        )
        best = self.client.get(path, best_only="true")["items"]
        expect(len(best) == 1, f"{len(best)} checkpoints carry the star")
        self.checkpoint = best[0]
        artifact = self.checkpoint["artifact"]
        text = (
            f"{stored['total']} stored, best at iteration {self.checkpoint['iteration']}, "
            f"{artifact['size_bytes'] / 1e6:.1f} MB, sha256 {artifact['sha256'][:12]}"
        )
        self.display.fact(text)
        return text

    def evaluate(self) -> str:
        """Let the random agent and the best checkpoint play the same held-out seeds."""
        suite = self._named("/suites", SUITE, _suite_body())
        episodes = suite["version"]["episode_count"]
        expect(episodes >= LEAST_EPISODES, f"the suite has only {episodes} episodes")
        self.random = self._evaluate(suite, {"agent": "random"}, "random agent")
        subject = {"checkpoint_id": self.checkpoint["id"]}
        self.candidate = self._evaluate(suite, subject, "best checkpoint")
        texts = [
            f"{name} {estimate(one)}"
            for name, one in (("random", self.random), ("agent", self.candidate))
        ]
        return "; ".join(texts)

    def ask_gate(self) -> str:
        """Publish the checkpoint and let the gate decide by statistics."""
        body = {"checkpoint_id": self.checkpoint["id"], "request_id": str(uuid.uuid4())}
        created = self.client.post(f"/models/{self.model['id']}/versions", body)
        self.version = self.client.get(f"/versions/{created['id']}")
        expect(self.version["tag"] == "candidate", f"the version is {self.version['tag']}")
        refused = self.client.refusal(f"/versions/{self.version['id']}/promote", {})
        expect(refused.reason == "GATE_NOT_PASSED", f"promotion was refused by {refused}")
        self.display.fact(f"version {self.version['number']}; without evidence: {refused}")
        policy = self._named("/gate-policies", POLICY, _policy_body())
        answer = self.client.post("/gates/decide", self._gate_request(policy))
        self.decision = self.client.get(f"/decisions/{answer['id']}")
        for check in self.decision["checks"]:
            self.display.fact(f"{check['state']} {check['rule']}: {check['message']}")
        expect(self.decision["passed"], "the gate did not pass")
        again = self.client.post(f"/decisions/{answer['id']}:recompute", {})
        expect(again["equal"], f"the record yields another decision: {again['differences']}")
        return f"passed, p = {p_value(self.decision):.2g}, recomputed from its record"

    def promote(self) -> str:
        """Promote the version with the decision as evidence."""
        path = f"/versions/{self.version['id']}/promote"
        try:
            self.client.post(path, {"decision_id": self.decision["id"]})
        except RefusedError as error:
            # The answer of the first try was lost with its service; what counts is read below.
            expect(error.reason == "ALREADY_STABLE", str(error))
        stable = self.client.get(f"/models/{self.model['id']}/stable")
        expect(stable["id"] == self.version["id"], "another version is stable")
        expect(stable["tag"] == "stable", f"the stable version is tagged {stable['tag']}")
        history = self.client.get(f"/models/{self.model['id']}/promotions")["items"]
        expect(len(history) == 1, f"{len(history)} promotions are recorded")
        expect(history[0]["kind"] == "GATE", f"it was promoted by {history[0]['kind']}")
        expect(history[0]["decision_id"] == self.decision["id"], "another decision is the evidence")
        self.display.fact(f"{self.model['name']}@stable is version {stable['number']}")
        return f"{self.model['name']}@{stable['number']} is stable"

    def play(self) -> str:
        """Let a player fight the promoted agent, and read what the session taught."""
        player = demo_duel.new_player(self.client, self.url, self.tag)
        self.display.fact("a player is registered, who may play and nothing else")
        session_id = demo_duel.fight(player, self.model["id"], self.version["id"], STYLE)
        return demo_duel.read_summary(player, session_id, self.display)

    # -- parts of steps ---------------------------------------------------------------------

    def _watch_training(self, run_id: str) -> tuple[Curve, int]:
        curve, peak_bytes = Curve(), 0
        with self.display.meter("training") as meter:
            for event in self.client.watch(f"/runs/{run_id}/watch", _TRAINING_LIMIT_S):
                curve.take(event)
                if event.name == "checkpoint":
                    peak_bytes = max(peak_bytes, self.memory_bytes())
                if event.name == "state" and event.data.get("last_error"):
                    self.display.line(f"   ! {event.data['state']}: {event.data['last_error']}")
                meter.update(curve.percent, curve.figures())
        return curve, peak_bytes

    def _check_run(self, curve: Curve) -> None:
        run = self.run
        expect(run["state"] == "COMPLETED", f"the run {run['state']}: {run['last_error']}")
        expect(run["seed"] < FIRST_HELD_OUT_SEED, "the training seed is a held-out seed")
        expect(curve.returns, "the stream told no return")
        expect(curve.checkpoints == run["checkpoint_count"], "the stream missed a checkpoint")

    def _evaluate(
        self, suite: dict[str, Any], subject: dict[str, str], name: str
    ) -> dict[str, Any]:
        body = {"suite_id": suite["id"], "request_id": str(uuid.uuid4())} | subject
        created = self.client.post("/evaluations", body)
        with self.display.meter(name) as meter:
            self._watch_evaluation(created["id"], meter)
        done = self.client.get(f"/evaluations/{created['id']}")
        expect(done["state"] == "COMPLETED", f"{name}: {done['state']} {done['error']}")
        self._check_episodes(done, suite)
        origin = " (played before, from the cache)" if done["cached"] else ""
        self.display.fact(f"{name}: return {estimate(done)}{origin}")
        return done

    def _watch_evaluation(self, evaluation_id: str, meter: Meter) -> None:
        path = f"/evaluations/{evaluation_id}/watch"
        for event in self.client.watch(path, _EVALUATION_LIMIT_S):
            if event.name == "progress":
                counts = f"{event.data['episodes_done']}/{event.data['episodes_total']} episodes"
                meter.update(event.data["percent"], counts)

    def _check_episodes(self, evaluation: dict[str, Any], suite: dict[str, Any]) -> None:
        source = evaluation["source_evaluation_id"] or evaluation["id"]
        episodes = self.client.get(f"/evaluations/{source}/episodes", page_size=200)["items"]
        seeds = {episode["seed"] for episode in episodes}
        expect(seeds == set(suite["version"]["scenarios"][0]["seeds"]), "other seeds were played")
        mean = statistics.fmean(episode["metrics"]["return"] for episode in episodes)
        expect(
            abs(mean - of_return(evaluation)["mean"]) < _ROUNDING,
            "the mean is not the mean of the episodes",
        )

    def _named(self, path: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return what an earlier telling created under a name, or create it."""
        found = self.client.get(path, name=name)["items"]
        if not found:
            found = [self.client.post(path, {"name": name} | body)]
        return self.client.get(f"{path}/{found[0]['id']}")

    def _gate_request(self, policy: dict[str, Any]) -> dict[str, Any]:
        return {
            "policy_id": policy["id"],
            "version_id": self.version["id"],
            "evaluation_id": self.candidate["id"],
            "random_evaluation_id": self.random["id"],
            "request_id": str(uuid.uuid4()),
        }


def of_return(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return the estimate of the return of a completed evaluation."""
    return next(one for one in evaluation["metrics"] if one["metric"] == "return")


def estimate(evaluation: dict[str, Any]) -> str:
    """Write the mean return with its confidence interval."""
    one = of_return(evaluation)
    interval = f"[{one['lower']:.1f}, {one['upper']:.1f}]"
    return f"{one['mean']:.1f} {interval} over {one['episode_count']} episodes"


def p_value(decision: dict[str, Any]) -> float:
    """Return the p-value of the check against random play."""
    return next(float(c["p_value"]) for c in decision["checks"] if c["kind"] == "better_than")


def _suite_body() -> dict[str, Any]:
    return {
        "description": "Episodes that no training run has seen.",
        "scenarios": [{"game": "doom", "scenario": SCENARIO, "seeds": HELD_OUT_SEEDS}],
        "metrics": [{"name": "return"}, {"name": "decisions"}],
    }


def _policy_body() -> dict[str, Any]:
    better = {"baseline": "RANDOM", "margin": MARGIN}
    return {
        "description": "Enough episodes, far better than chance, no worse than what is stable.",
        "confidence": 0.95,
        "rules": [
            {"name": "enough-episodes", "min_episodes": {"count": LEAST_EPISODES}},
            {"name": "beats-random", "better_than": better},
            {"name": "keeps-up", "not_worse_than": {"baseline": "STABLE", "tolerance": 5}},
        ],
    }


STEPS: tuple[tuple[str, Callable[[Story], str]], ...] = (
    ("Sign in", Story.sign_in),
    ("Create a model", Story.create_model),
    ("Train an agent", Story.train),
    ("Find its best checkpoint", Story.find_best),
    ("Evaluate on held-out seeds", Story.evaluate),
    ("Ask the gate", Story.ask_gate),
    ("Promote", Story.promote),
    ("Play against it", Story.play),
)
