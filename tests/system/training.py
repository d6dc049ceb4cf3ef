"""A training run small enough for a fault test, and what must come out of it whatever happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.waiting import eventually_sync
from trainer.config import SEED_LIMIT

if TYPE_CHECKING:
    import httpx

SMALL = {
    "algorithm": "DQN",
    "scenario": "basic",
    "games": 2,
    "rollout_steps": 4,
    "max_iterations": 480,
    "learning_starts": 200,
    "replay_capacity": 1000,
    "stop_decay": 1200,
    "target_interval": 100,
    "metrics_interval": 20,
    "checkpoint_interval": 80,
    "eval_episodes": 1,
}
# A game that starts at once, for a worker that is busy until it is told to stop.
CATCH = {"game": "catch", "algorithm": "PPO", "max_iterations": 100_000, "checkpoint_interval": 4}
SETTLED = {"COMPLETED", "FAILED", "CANCELLED", "STOPPED"}
# What a clock decides differs from run to run; everything else follows from the seed.
TIMED = ("per_s", "time", "_s")


def start(client: httpx.Client, **fields: Any) -> str:
    """Start a small run and return its id."""
    body = {"type": "TRAINING", "config": SMALL, "seed": 7, "retry_backoff_s": 0} | fields
    answer = client.post("/runs", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def get(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Read a run."""
    answer = client.get(f"/runs/{run_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def settled(client: httpx.Client, run_id: str, within_s: float = 180) -> dict[str, Any]:
    """Return the run once it has settled."""
    eventually_sync(lambda: get(client, run_id)["state"] in SETTLED, within_s)
    return get(client, run_id)


def reached(client: httpx.Client, run_id: str, iteration: int, within_s: float = 90) -> None:
    """Return once a run that is at work has done some iterations."""

    def is_there() -> bool:
        run = get(client, run_id)
        assert run["state"] not in SETTLED, run["last_error"]
        return run["state"] == "RUNNING" and run["progress"]["current_iteration"] >= iteration

    eventually_sync(is_there, within_s)


def train_and_play(client: httpx.Client) -> None:
    """Let a short run be trained and a suite be played by chance, both to their ends."""
    run_id = start(client, config=CATCH | {"max_iterations": 4})
    scenario = {"game": "catch", "scenario": "board", "seeds": [SEED_LIMIT, SEED_LIMIT + 1]}
    suite = client.post("/suites", json={"name": f"of-{run_id}", "scenarios": [scenario]})
    assert suite.status_code == 201, suite.text
    body = {"suite_id": suite.json()["id"], "agent": "random", "fresh": True}
    evaluation = client.post("/evaluations", json=body)
    assert evaluation.status_code == 201, evaluation.text
    path = f"/evaluations/{evaluation.json()['id']}"
    assert settled(client, run_id)["state"] == "COMPLETED"
    eventually_sync(lambda: client.get(path).json()["state"] == "COMPLETED", within_s=60)


def result(client: httpx.Client, run_id: str) -> dict[str, Any]:
    """Return what follows from config and seed alone: checkpoints by digest, and every curve."""
    listed = client.get(f"/runs/{run_id}/checkpoints", params={"page_size": 200}).json()["items"]
    assert all(one["state"] == "COMMITTED" for one in listed)
    digests = {one["iteration"]: one["artifact"]["sha256"] for one in listed}
    curves = {
        one["name"]: dict(zip(one["steps"], one["values"], strict=True))
        for one in history(client, run_id)
        if not one["name"].endswith(TIMED)
    }
    return {"digests": digests, "curves": curves}


def history(client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """Return every curve whole; a step that is there twice fails."""
    answer = client.get(f"/runs/{run_id}/metrics", params={"max_points": 10_000}).json()
    for one in answer["series"]:
        assert len(one["steps"]) == len(set(one["steps"])), one["name"]
    return list(answer["series"])


def jobs(client: httpx.Client, run_id: str) -> list[dict[str, Any]]:
    """Return the attempts of a run, the first one first."""
    return list(reversed(client.get(f"/runs/{run_id}/jobs").json()["items"]))
