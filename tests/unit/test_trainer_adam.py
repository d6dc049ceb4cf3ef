from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from trainer.adam import Adam

ROOT = Path(__file__).parents[2]


def parameters() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    shapes = ((4, 3, 2, 2), (5, 7), (5,))
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    made[0] = made[0].to(memory_format=torch.channels_last)
    return [one.requires_grad_() for one in made]


def push(parameters: list[torch.Tensor], seed: int) -> None:
    """Give every parameter a gradient, and every third time none to the last."""
    generator = torch.Generator().manual_seed(seed)
    for one in parameters:
        drawn = torch.randn(one.shape, generator=generator).mul(10**seed % 7 - 3)
        # As autograd lays it out: like its parameter.
        one.grad = torch.empty_like(one).copy_(drawn)
    if seed % 3 == 0:
        parameters[-1].grad = None


def test_it_moves_parameters_as_torch_own_class_does() -> None:
    ours, theirs = parameters(), parameters()
    optimizer = Adam(ours, 0.01)
    reference = torch.optim.Adam(theirs, lr=0.01, eps=1e-5)
    for step in range(20):
        optimizer.rate = reference.param_groups[0]["lr"] = 0.01 / (1 + step)
        push(ours, step)
        push(theirs, step)
        optimizer.step()
        reference.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


def test_it_goes_on_exactly_from_its_state() -> None:
    ours = parameters()
    optimizer = Adam(ours, 0.01)
    for step in range(4):
        push(ours, step)
        optimizer.step()
    again = [one.detach().clone().requires_grad_() for one in ours]
    other = Adam(again, 0.01)
    other.load({name: tensor.clone() for name, tensor in optimizer.state().items()})
    for step in range(4, 8):
        for moved, by in ((ours, optimizer), (again, other)):
            push(moved, step)
            by.step()
    assert all(torch.equal(one, two) for one, two in zip(ours, again, strict=True))


def test_a_state_that_lacks_a_moment_is_not_taken() -> None:
    state = Adam(parameters(), 0.01).state()
    del state["1.square"]
    with pytest.raises(KeyError, match=r"1\.square"):
        Adam(parameters(), 0.01).load(state)


def test_learning_does_not_load_the_compiler() -> None:
    program = (
        "import sys; from tests.unit.test_trainer_learning import a_learner, update;"
        "update(a_learner(), 0); sys.exit('torch._dynamo' in sys.modules)"
    )
    paths = ":".join(str(ROOT / name) for name in ("", "gen", "sdk"))
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PYTHONPATH": paths}, check=False
    )
    assert run.returncode == 0
