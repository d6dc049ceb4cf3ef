"""The learners of a training, seen from one of them: what they tell each other and add up.

What several learners do together, all of them call in the same order, and each waits there for the
others. A training with one learner is a group of one, which waits for nobody.
"""

from __future__ import annotations

import contextlib
import pickle
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.distributed import ProcessGroup

Message = Any
"""Whatever can be pickled: it passes between processes of one program."""


class LostPeerError(ConnectionError):
    """Another learner is gone, or has not answered in time."""


class Peers:
    """`size` learners, of which this is number `rank`; number 0, the first, decides for all.

    `place` is this one's number among the `places` learners on this machine.
    """

    def __init__(
        self, group: ProcessGroup | None = None, *, place: int = 0, places: int = 1
    ) -> None:
        """Reach the others through a group of torch.distributed; without one, be alone."""
        self._group = group
        self.rank, self.size = (group.rank(), group.size()) if group else (0, 1)
        self.place = place
        self.places = places

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up everyone's tensor; the answer is the same to the bit for all, and every time."""
        if self._group is None:
            return tensor
        total = tensor.clone()
        with _connected():
            self._group.allreduce([total]).wait()
        return total

    def average(self, gradients: Sequence[Tensor], samples: Tensor | float) -> None:
        """Replace gradients of a mean over `samples` by those of the mean over everyone's."""
        if self._group is None:
            return
        weight = torch.as_tensor(samples, dtype=torch.float32, device=gradients[0].device)
        own = torch.cat([gradient.reshape(-1) for gradient in gradients])
        total = self.sum(torch.cat((own * weight, weight.view(1))))
        # Where nobody has a sample, the gradients are zeros and stay it.
        mean = total[:-1] / total[-1].clamp(min=1)
        parts = mean.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))

    def share(self, message: Message = None, *, origin: int = 0) -> Message:
        """Answer to everyone what learner `origin` passes; what others pass counts for nothing."""
        if self._group is None:
            return message
        is_mine = self.rank == origin
        octets = _packed(message) if is_mine else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([len(octets)])
        with _connected():
            self._group.broadcast(size, origin).wait()
            octets = octets if is_mine else torch.empty(int(size), dtype=torch.uint8)
            self._group.broadcast(octets, origin).wait()
        return message if is_mine else _unpacked(octets)

    def gathered(self, message: Message) -> list[Message]:
        """Answer to everyone what everyone passes, by rank."""
        return [self.share(message, origin=rank) for rank in range(self.size)]

    def collect(self, message: Message) -> list[Message]:
        """Answer to the first learner what everyone passes, by rank, and to the others nothing."""
        if self.rank:
            self.send(message, 0)
            return []
        return [message, *(self.receive(rank) for rank in range(1, self.size))]

    def send(self, message: Message, rank: int) -> None:
        """Hand a message to one learner, who has to receive it."""
        assert self._group is not None
        octets = _packed(message)
        with _connected():
            self._group.send([torch.tensor([len(octets)])], rank, 0).wait()
            self._group.send([octets], rank, 0).wait()

    def receive(self, rank: int) -> Message:
        """Wait for what one learner sends."""
        assert self._group is not None
        size = torch.empty(1, dtype=torch.int64)
        with _connected():
            self._group.recv([size], rank, 0).wait()
            octets = torch.empty(int(size), dtype=torch.uint8)
            self._group.recv([octets], rank, 0).wait()
        return _unpacked(octets)


ALONE = Peers()


@contextlib.contextmanager
def _connected() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostPeerError(str(error)) from error


def _packed(message: Message) -> Tensor:
    return torch.frombuffer(bytearray(pickle.dumps(message)), dtype=torch.uint8)


def _unpacked(octets: Tensor) -> Message:
    return pickle.loads(octets.numpy().data)  # noqa: S301 - from this program itself
