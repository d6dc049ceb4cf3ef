"""What learning needs and no algorithm is about: device, precision, optimizer, checkpoint."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import os
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from trainer import checkpoint
from trainer.adam import Adam
from trainer.cuda_graph import Graphs, Landing
from trainer.memory import keep_freed_memory
from trainer.networks import build, describe
from trainer.peers import ALONE
from trainer.schedules import linear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from trainer import cuda_graph
    from trainer.checkpoint import Tensors
    from trainer.config import Config
    from trainer.cuda_graph import Arrays
    from trainer.networks import Network, Shape
    from trainer.peers import Peers

    Losses = Callable[[cuda_graph.Tensors], dict[str, Tensor]]


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
        if self.device.type == "cuda":
            _settle(self.device)
        self.network = build(network, seed=config.seed).to(self.device)
        self.player = copy.deepcopy(self.network) if config.averaging else self.network
        self._parameters = list(self.network.parameters())
        self._optimizer = Adam(self._parameters, config.learning_rate)
        self.updates = 0
        """How often the weights were moved."""
        self._landings: dict[object, Landing] = {}
        self._numbers: dict[str, Tensor] = {}
        self._share: float | Tensor = 1.0
        self._graphs: dict[Losses, Graphs] = {}
        # Learners of a group talk to each other in the midst of an update.
        self._is_recorded = self.device.type == "cuda" and peers.size == 1
        self._is_crowded = (
            self.device.type == "cpu"
            and config.learners == 1
            and config.actors >= len(os.sched_getaffinity(0))
        )
        # The cores to take updates on, where the scheduler is not left to choose.
        self._turns: Iterator[int] | None = None

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
        rate = linear(
            iteration,
            start=0,
            stop=config.iterations,
            first=config.learning_rate,
            last=config.learning_rate * config.final_learning_rate,
        )
        self._optimizer.rate = self._number("rate", rate)

    def _number(self, name: str, value: float) -> float | Tensor:
        """Say a number to updates; on a GPU it lies where recorded ones look for it."""
        if self.device.type == "cpu":
            return value
        place = self._numbers.setdefault(name, torch.empty((), device=self.device))
        return place.fill_(value)

    def upload(self, arrays: Arrays) -> dict[str, Tensor]:
        """Bring arrays to the device: on a CPU the memory is shared.

        On a GPU they lie there until the next arrays of the same names, types and shapes come.
        """
        if self.device.type == "cpu":
            return {name: torch.from_numpy(array) for name, array in arrays.items()}
        layout = tuple((name, one.dtype, one.shape) for name, one in arrays.items())
        if layout not in self._landings:
            self._landings[layout] = Landing(arrays, self.device)
        return self._landings[layout].bring(arrays)

    def precision(self) -> contextlib.AbstractContextManager[object]:
        """Compute in the precision of the config; parameters and losses stay float32."""
        if self._config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def update(self, losses: Losses, batch: cuda_graph.Tensors) -> dict[str, Tensor]:
        """Move the weights one step down the gradient of the loss of a batch, its norm clipped.

        `losses`, the same function every time, makes of a batch what is answered: `loss`, and
        whatever else is to be told. Where its loss is not a mean over as many samples every time,
        `samples` says over how many, by which it counts beside the losses of other learners. On a
        GPU the whole update is recorded: `losses` may not wait for the GPU and does nothing else.
        """
        self.updates += 1
        # A young average forgets faster, or it would remember how everything began.
        kept = min(self._config.averaging, self.updates / (self.updates + 9))
        self._share = self._number("share", 1 - kept)
        if not self._is_recorded:
            return self._descend(losses, batch)
        if losses not in self._graphs:
            self._graphs[losses] = Graphs(functools.partial(self._descend, losses))
        return self._graphs[losses](batch)

    def _descend(self, losses: Losses, batch: cuda_graph.Tensors) -> dict[str, Tensor]:
        report = losses(batch)
        if self._turns:
            os.sched_setaffinity(0, {next(self._turns)})
        self._optimizer.clear()
        report["loss"].backward()
        gradients = [one.grad for one in self._parameters if one.grad is not None]
        self.peers.average(gradients, report.pop("samples", 1))
        nn.utils.clip_grad_norm_(self._parameters, self._config.max_gradient_norm, foreach=True)
        self._optimizer.step()
        if self.player is not self.network:
            self._average()
        return {name: value.detach() for name, value in report.items()}

    @torch.no_grad()
    def _average(self) -> None:
        for kept, latest in zip(self.player.parameters(), self._parameters, strict=True):
            kept.lerp_(latest, self._share)

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
        self.updates = self._optimizer.steps_taken

    def description(self, **options: object) -> dict[str, Any]:
        """Describe the network, so that a player can be built from a checkpoint."""
        return describe(self.network, self.shape, **options)


def _device(gpu_id: int, peers: Peers) -> torch.device:
    """Take the GPU named, and for more learners on this machine those after it, if it has all."""
    if gpu_id >= 0 and gpu_id + peers.places <= torch.cuda.device_count():
        return torch.device("cuda", gpu_id + peers.place)
    return torch.device("cpu")


def _settle(gpu: torch.device) -> None:
    """Have this process use one GPU alone, in a way that repeats itself.

    The fastest convolutions add up in an order that is left to chance.
    """
    torch.cuda.set_device(gpu)
    torch.backends.cudnn.deterministic = True


def means(reports: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Average what updates reported by name; nothing where there was no update."""
    if not reports:
        return {}
    names = list(reports[0])
    found = [torch.stack([one[name] for one in reports]).mean() for name in names]
    # All at once, for a GPU is waited for here.
    return dict(zip(names, torch.stack(found).tolist(), strict=True))


def arrays(named: Mapping[str, Tensor]) -> Tensors:
    """Copy tensors to numpy."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in named.items()}


def tensors(named: Tensors) -> dict[str, Tensor]:
    """Wrap arrays as tensors."""
    return {name: torch.from_numpy(array) for name, array in named.items()}
