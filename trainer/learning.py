"""What learning needs and no algorithm is about: device, precision, optimizer, checkpoint."""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from trainer import checkpoint
from trainer.adam import Adam
from trainer.memory import keep_freed_memory
from trainer.networks import build, describe
from trainer.peers import ALONE
from trainer.schedules import linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from trainer.checkpoint import Tensors
    from trainer.config import Config
    from trainer.networks import Network, Shape
    from trainer.peers import Peers


Learned = TypeVar("Learned", bound="Network")


class Learner(Generic[Learned]):
    """One network and the optimizer that moves it, on the device that the config names.

    Each of several learners has its own copy. They begin alike and move by the same gradients, so
    they stay alike to the bit. `batch_size` is what each of them brings to an update. `player` is
    the network that is judged and saved to play: a running average of the weights (Polyak &
    Juditsky 1992) if the config asks for one, which an update moves less than the latest weights.
    """

    def __init__(
        self,
        config: Config,
        network: Callable[[], Learned],
        shape: Shape,
        peers: Peers = ALONE,
    ) -> None:
        """Begin with weights drawn from the config's seed."""
        keep_freed_memory()
        self.shape = shape
        self.peers = peers
        self.batch_size = config.batch_size // peers.size
        self._config = config
        self.device = _device(config.gpu_id, peers)
        self.network = build(network, seed=config.seed).to(self.device)
        self.player = copy.deepcopy(self.network) if config.averaging else self.network
        self._parameters = list(self.network.parameters())
        self._optimizer = Adam(self._parameters, config.learning_rate)
        self._is_crowded = (
            self.device.type == "cpu"
            and config.learners == 1
            and config.actors >= len(os.sched_getaffinity(0))
        )
        # The cores to take updates on, where the scheduler is not left to choose.
        self._turns: Iterator[int] | None = None

    @property
    def updates(self) -> int:
        """How often the weights were moved."""
        return self._optimizer.steps_taken

    @contextlib.contextmanager
    def iteration(self, iteration: int) -> Iterator[None]:
        """Take the steps of an iteration, which decides the learning rate.

        Where every core has an actor they are taken on all cores in turn: a window ends with its
        slowest actor, and the scheduler would leave the learner beside one of them.
        """
        self._set_rate(iteration)
        if not self._is_crowded:
            yield
            return
        cores = os.sched_getaffinity(0)
        self._turns = itertools.cycle(sorted(cores))
        try:
            yield
        finally:
            self._turns = None
            os.sched_setaffinity(0, cores)

    def _set_rate(self, iteration: int) -> None:
        config = self._config
        self._optimizer.rate = linear(
            iteration,
            start=0,
            stop=config.iterations,
            first=config.learning_rate,
            last=config.learning_rate * config.final_learning_rate,
        )

    def tensor(self, array: NDArray[Any]) -> Tensor:
        """Bring an array to the device; on a CPU the memory is shared."""
        tensor = torch.from_numpy(array)
        if self.device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(self.device, non_blocking=True)

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """Compute in the precision of the config; parameters and losses stay float32."""
        if self._config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def step(self, loss: Tensor, *, samples: Tensor | float = 1) -> None:
        """Move the weights one step down the gradient of `loss`, whose norm is clipped.

        `loss` is a mean over `samples`, by which it counts beside the losses of other learners.
        """
        if self._turns:
            os.sched_setaffinity(0, {next(self._turns)})
        self._optimizer.clear()
        loss.backward()
        gradients = [one.grad for one in self._parameters if one.grad is not None]
        self.peers.average(gradients, samples)
        nn.utils.clip_grad_norm_(self._parameters, self._config.max_gradient_norm, foreach=True)
        self._optimizer.step()
        if self.player is not self.network:
            self._average()

    @torch.no_grad()
    def _average(self) -> None:
        # A young average forgets faster, or it would remember how everything began.
        share = min(self._config.averaging, self.updates / (self.updates + 9))
        for kept, latest in zip(self.player.parameters(), self._parameters, strict=True):
            kept.lerp_(latest, 1 - share)

    def state(self) -> dict[str, Tensors]:
        """Copy the weights and the optimizer's moments, as groups of named arrays.

        `network` is the one that plays; `latest` are the weights that learning goes on from, where
        these are others.
        """
        groups = {
            "network": arrays(self.player.state_dict()),
            "optimizer": arrays(self._optimizer.state()),
        }
        if self.player is not self.network:
            groups["latest"] = arrays(self.network.state_dict())
        return groups

    def load(self, path: Path) -> None:
        """Take over what a checkpoint holds; raises CheckpointError if that is too little."""
        self.player.load_state_dict(tensors(checkpoint.read_group(path, "network")))
        if self.player is not self.network:
            latest = checkpoint.read_group(path, "latest")
            if not latest:
                raise checkpoint.CheckpointError(f"{path.name} lacks the weights to go on from")
            self.network.load_state_dict(tensors(latest))
        try:
            self._optimizer.load(tensors(checkpoint.read_group(path, "optimizer")))
        except KeyError as error:
            raise checkpoint.CheckpointError(f"{path.name} lacks the moment {error}") from error

    def description(self, **options: object) -> dict[str, Any]:
        """Describe the network, so that a player can be built from a checkpoint."""
        return describe(self.network, self.shape, **options)


def _device(gpu_id: int, peers: Peers) -> torch.device:
    """Take the GPU named, and for more learners on this machine those after it, if it has all."""
    if gpu_id >= 0 and gpu_id + peers.places <= torch.cuda.device_count():
        return torch.device("cuda", gpu_id + peers.place)
    return torch.device("cpu")


def means(reports: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Average what updates reported by name; nothing where there was no update."""
    if not reports:
        return {}
    return {name: float(torch.stack([one[name] for one in reports]).mean()) for name in reports[0]}


def arrays(named: Mapping[str, Tensor]) -> Tensors:
    """Copy tensors to numpy."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}


def tensors(named: Tensors) -> dict[str, Tensor]:
    """Wrap arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in named.items()}
