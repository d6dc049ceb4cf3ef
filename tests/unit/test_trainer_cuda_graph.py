"""Updates that a GPU repeats from a recording, beside the same updates as they are."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from tests.rings import play
from tests.toy import CountingGame, a_config, parts
from trainer.cuda_graph import WARM_UP, Graphs, Landing
from trainer.learning import Learner
from trainer.networks import ActorCritic, Seen, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainer.cuda_graph import Tensors

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
CPU = torch.device("cpu")
ITERATIONS = 20
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "PPO": ("PPO", {"game_variables": ["HEALTH"], "game_features": True}),
    # The last batch of a pass is smaller than the others.
    "PPO in odd batches": ("PPO", {"batch_size": 12, "averaging": 0}),
    "PPO with an LSTM": ("PPO", {"network_type": "lstm"}),
    "PPO with an LSTM in odd batches": ("PPO", {"network_type": "lstm", "batch_size": 24}),
    "DQN": ("DQN", {"game_variables": ["HEALTH"], "game_features": True}),
    "DQN, prioritised": ("DQN", {"prioritised": True}),
    "DRQN": ("DRQN", {"game_features": True}),
    "PPO, bfloat16": ("PPO", {"precision": "bfloat16"}),
    "DQN, bfloat16": ("DQN", {"precision": "bfloat16"}),
    "DRQN, bfloat16": ("DRQN", {"precision": "bfloat16"}),
}


def run_at_once(run: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return run()


def repeat_by_running(
    run: Callable[[], dict[str, torch.Tensor]],
) -> Callable[[], dict[str, torch.Tensor]]:
    """Stand in for a recording where there is no GPU: read the same memory once more."""
    return run


def graphs(function: Callable[[Tensors], dict[str, torch.Tensor]]) -> Graphs:
    return Graphs(function, warm_up=run_at_once, record=repeat_by_running)


def an_algorithm(kind: str, **settings: object) -> Any:
    """A learner beside a ring full of noise."""
    algorithm, changes = KINDS[kind]
    config = a_config(
        algorithm, **{"final_learning_rate": 0.1, "max_iterations": 20, **changes, **settings}
    )
    made = parts(config, CountingGame)
    ring, draw = made.ring, np.random.default_rng(3)
    play(ring, ring.length, actions=4, chances=(0.9, 0.05, 0.05))
    ring["variables"][:] = draw.normal(size=ring["variables"].shape)
    if algorithm == "PPO":
        ring["log_probs"][:] = np.log(0.25) + 0.1 * draw.normal(size=ring["log_probs"].shape)
        ring["values"][:] = draw.normal(size=ring["values"].shape)
        ring["states"][:] = 0.1 * draw.normal(size=ring["states"].shape)
    return made.algorithm


def learned(algorithm: Any) -> dict[str, torch.Tensor]:
    """Learn for some iterations; answers all that changed, and what was reported."""
    generator = np.random.default_rng(5)
    reports = [algorithm.learn(at, generator) for at in range(ITERATIONS)]
    found = {
        f"{group}/{name}": torch.from_numpy(array)
        for group, arrays in algorithm.state().items()
        if group != "replay"
        for name, array in arrays.items()
    }
    for name in ("loss", "entropy", "q_mean"):
        values = [report[name] for report in reports if name in report]
        found[f"reported/{name}"] = torch.tensor(values)
    return found


def test_a_function_sees_what_it_is_called_with_and_its_answers_stay() -> None:
    call = graphs(lambda inputs: {"sum": inputs["one"] + inputs["two"]})
    answers = [
        call({"one": torch.tensor([float(number)]), "two": torch.tensor([0.5])})["sum"]
        for number in range(2 * WARM_UP)
    ]
    assert [answer.item() for answer in answers] == [number + 0.5 for number in range(2 * WARM_UP)]


def test_each_layout_has_a_recording_of_its_own() -> None:
    recorded: list[int] = []

    def record(run: Callable[[], dict[str, torch.Tensor]]) -> Any:
        recorded.append(len(run()["same"]))
        return run

    call = Graphs(lambda inputs: {"same": inputs["it"] * 1}, warm_up=run_at_once, record=record)
    for size in (3, 5) * (2 * WARM_UP):
        assert call({"it": torch.full((size,), float(size))})["same"].tolist() == [size] * size
    assert recorded == [3, 5]


def test_what_landed_where_it_is_read_from_is_not_copied() -> None:
    seen: list[int] = []

    def function(inputs: Tensors) -> dict[str, torch.Tensor]:
        seen.append(inputs["it"].data_ptr())
        return {"double": inputs["it"] * 2}

    call = graphs(function)
    landing = Landing({"it": np.zeros(3, dtype=np.float32)}, CPU)
    for number in range(2 * WARM_UP):
        brought = landing.bring({"it": np.full(3, number, dtype=np.float32)})
        assert call(brought)["double"].tolist() == [2 * number] * 3
    assert set(seen) == {brought["it"].data_ptr()}


def test_arrays_of_every_kind_land_together() -> None:
    draw = np.random.default_rng(0)
    arrays = {
        "frames": draw.integers(0, 256, (3, 2, 5, 7)).astype(np.uint8),
        "nothing": np.zeros((3, 0), dtype=np.float32),
        "actions": draw.integers(0, 9, 3),
        "valid": draw.random((2, 3)) < 0.5,
        "turned": draw.random((5, 3), dtype=np.float32).T,
    }
    landing = Landing({name: np.zeros_like(array) for name, array in arrays.items()}, CPU)
    found = landing.bring(arrays)
    assert found.keys() == arrays.keys()
    for name, tensor in found.items():
        expected = torch.from_numpy(arrays[name])
        assert tensor.dtype == expected.dtype
        assert torch.equal(tensor, expected), name


@pytest.mark.parametrize("kind", KINDS)
def test_updates_from_where_a_recording_reads_are_the_same(kind: str) -> None:
    plain, moved = an_algorithm(kind), an_algorithm(kind)
    learner = moved._learner
    learner._is_recorded = True
    learner._graphs[moved._losses] = graphs(functools.partial(learner._descend, moved._losses))
    expected, found = learned(plain), learned(moved)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@NEEDS_GPU
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_updates_are_those_that_run_as_they_are(kind: str) -> None:
    plain, recorded = (an_algorithm(kind, gpu_id=0) for _ in range(2))
    plain._learner._is_recorded = False
    expected, found = learned(plain), learned(recorded)
    assert recorded._learner._graphs
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@NEEDS_GPU
@pytest.mark.parametrize("kind", KINDS)
def test_recorded_updates_repeat_themselves(kind: str) -> None:
    expected, found = (learned(an_algorithm(kind, gpu_id=0)) for _ in range(2))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@NEEDS_GPU
def test_updates_of_networks_as_large_as_those_of_games_repeat_themselves() -> None:
    shape = Shape(frames=(4, 36, 64), action_count=3)
    draw = np.random.default_rng(0)
    arrays = {
        "frames": draw.integers(0, 256, (128, 4, 36, 64)).astype(np.uint8),
        "variables": np.zeros((128, 0), dtype=np.float32),
        "goals": draw.normal(size=(128, 4)).astype(np.float32),
    }

    def moved() -> list[torch.Tensor]:
        learner = Learner(a_config(gpu_id=0), lambda: ActorCritic(shape), shape)

        def losses(batch: Tensors) -> dict[str, torch.Tensor]:
            seen = Seen(batch["frames"], batch["variables"])
            preferences, values, _ = learner.network(seen, batch["variables"])
            found = torch.cat((preferences, values[:, None]), dim=1)
            return {"loss": (found - batch["goals"]).square().mean()}

        for _ in range(40):
            learner.update(losses, learner.upload(arrays))
        return [one.detach() for one in learner.network.parameters()]

    assert all(map(torch.equal, moved(), moved()))


@NEEDS_GPU
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "bfloat16" not in kind])
def test_a_gpu_learns_what_a_cpu_learns(kind: str) -> None:
    expected, found = learned(an_algorithm(kind)), learned(an_algorithm(kind, gpu_id=0))
    for name in ("reported/loss", "reported/entropy", "reported/q_mean"):
        torch.testing.assert_close(found[name], expected[name], rtol=0.05, atol=0.02, msg=name)
