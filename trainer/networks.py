"""The networks players think with: frames in, one number an action (and perhaps a value) out.

Shapes: B batch, T steps, C channels, H height, W width, V variables, A actions, S size of the
recurrent state, F game features. A network without a recurrent core has S = 0, so that whoever
plays treats both kinds alike. Its state is all zeros where an episode begins.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# One thread is the fastest beside games that need the other cores, and it makes results the same
# on machines of more or fewer cores.
torch.set_num_threads(1)

Built = TypeVar("Built", bound=nn.Module)

_KERNELS = ((8, 4), (4, 2), (3, 2))


@dataclass(frozen=True)
class Shape:
    """What a network sees and decides on: everything that its layers' sizes follow from."""

    frames: tuple[int, int, int]
    action_count: int
    variables: int = 0
    features: int = 0
    channels: tuple[int, ...] = (16, 32)
    hidden: int = 256
    recurrent: bool = False


class Seen(NamedTuple):
    """A batch of observations: `frames` uint8 [B, C, H, W], `variables` float32 [B, V]."""

    frames: Tensor
    variables: Tensor


class PixelConvolution(nn.Conv2d):
    """A convolution of pixels from 0 to 255, as if they went from 0 to 1."""

    def forward(self, pixels: Tensor) -> Tensor:
        """Scale the few weights instead of the many pixels."""
        return functional.conv2d(pixels, self.weight / 255, self.bias, self.stride)


class Torso(nn.Module):
    """Convolutions over the stacked frames, a hidden layer, and a recurrent core if asked for."""

    def __init__(self, shape: Shape) -> None:
        """Lay out the layers; raises ValueError where the frames are too small for them."""
        super().__init__()
        layers: list[nn.Conv2d] = []
        before, height, width = shape.frames
        for after, (kernel, stride) in zip(shape.channels, _KERNELS, strict=False):
            convolution = nn.Conv2d if layers else PixelConvolution
            layers.append(convolution(before, after, kernel, stride))
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            before = after
        if min(height, width) < 1:
            raise ValueError(f"frames of {shape.frames[1:]} are too small for {shape.channels}")
        flat = height * width * shape.channels[-1]
        self.hidden = nn.Linear(flat + shape.variables, shape.hidden)
        self.core = nn.LSTMCell(shape.hidden, shape.hidden) if shape.recurrent else None
        self.convolutions = nn.Sequential(
            *(step for one in layers for step in (one, nn.ReLU(True)))
        )
        for layer in (*layers, self.hidden):
            # Keeps what differs between frames alive through the rectified layers.
            nn.init.orthogonal_(layer.weight, math.sqrt(2))
            nn.init.constant_(layer.get_parameter("bias"), 0)
        self.state_size = 2 * shape.hidden if shape.recurrent else 0

    def forward(self, seen: Seen, state: Tensor) -> tuple[Tensor, Tensor]:
        """Answer the hidden layer [B, hidden] and the next state, from `state` [B, S]."""
        hidden = self._see(seen)
        if self.core is None:
            return hidden, state
        before, cell = state.chunk(2, dim=1)
        after, cell = self.core(hidden, (before.contiguous(), cell.contiguous()))
        return after, torch.cat((after, cell), dim=1)

    def unroll(self, seen: Seen, state: Tensor, fresh: Tensor | None) -> Tensor:
        """Answer the hidden layers [T x B, hidden] of sequences laid out step by step.

        `seen` holds T x B observations, `state` [B, S] is the one before the first step, and
        `fresh` bool [T, B] marks the steps with which an episode begins; None says that each
        sequence is of one episode, which takes less than half the time.
        """
        hidden = self._see(seen)
        if self.core is None:
            return hidden
        before, cell = (part.contiguous() for part in state.chunk(2, dim=1))
        if fresh is None:
            return _unrolled(self.core, hidden.unflatten(0, (-1, len(state))), before, cell)
        answers = []
        for now, begins in zip(hidden.unflatten(0, fresh.shape), fresh, strict=True):
            kept = (~begins).to(hidden.dtype)[:, None]
            before, cell = self.core(now, (before * kept, cell * kept))
            answers.append(before)
        return torch.cat(answers)

    def _see(self, seen: Seen) -> Tensor:
        # Channels last halves the time of a training pass on a CPU at these sizes.
        pixels = seen.frames.to(memory_format=torch.channels_last).float()
        flat = self.convolutions(pixels).flatten(1)
        if seen.variables.shape[1]:
            flat = torch.cat((flat, seen.variables), dim=1)
        return self.hidden(flat).relu_()


def _unrolled(core: nn.LSTMCell, hidden: Tensor, before: Tensor, cell: Tensor) -> Tensor:
    """Take all steps, [T, B, hidden], through the core in one call; answers [T x B, hidden]."""
    answers, *_ = torch.lstm(
        hidden,
        (before[None], cell[None]),
        (core.weight_ih, core.weight_hh, core.bias_ih, core.bias_hh),
        has_biases=True,
        num_layers=1,
        dropout=0.0,
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=False,
    )
    return answers.flatten(0, 1)


class Network(nn.Module):
    """What players and learners know of a network: a torso, and heads that read its hidden layer.

    Called with observations and a state it answers what an action is worth, [B, A], perhaps more,
    and the next state last.
    """

    torso: Torso
    features: nn.Linear | None


class QNetwork(Network):
    """Values of actions, by default with a dueling head (Wang et al., 2016).

    Values of a state and advantages of its actions are estimated apart: most decisions change
    little, and the value of the state is then learned from all of them.
    """

    def __init__(self, shape: Shape, *, dueling: bool = True) -> None:
        """Lay out the layers."""
        super().__init__()
        self.torso = Torso(shape)
        self.value = nn.Linear(shape.hidden, 1) if dueling else None
        self.advantage = nn.Linear(shape.hidden, shape.action_count)
        self.features = nn.Linear(shape.hidden, shape.features) if shape.features else None

    def forward(self, seen: Seen, state: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate Q, float [B, A]; answers it with the next state."""
        hidden, state = self.torso(seen, state)
        return self.values(hidden), state

    def values(self, hidden: Tensor) -> Tensor:
        """Estimate Q, float [B, A], from hidden layers [B, hidden]."""
        advantage = self.advantage(hidden)
        if self.value is None:
            return advantage
        return self.value(hidden) + advantage - advantage.mean(dim=1, keepdim=True)


class ActorCritic(Network):
    """Preferences of actions and the value of the state, from one torso."""

    def __init__(self, shape: Shape) -> None:
        """Lay out the layers; the first policy is almost uniform, as PPO likes it."""
        super().__init__()
        self.torso = Torso(shape)
        self.preferences = nn.Linear(shape.hidden, shape.action_count)
        self.value = nn.Linear(shape.hidden, 1)
        self.features = nn.Linear(shape.hidden, shape.features) if shape.features else None
        nn.init.orthogonal_(self.preferences.weight, 0.01)
        nn.init.zeros_(self.preferences.bias)
        nn.init.orthogonal_(self.value.weight, 1.0)
        nn.init.zeros_(self.value.bias)

    def forward(self, seen: Seen, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Answer the preferences (logits) [B, A], the values [B] and the next state."""
        hidden, state = self.torso(seen, state)
        return self.preferences(hidden), self.value(hidden).squeeze(1), state


def build(network: Callable[[], Built], *, seed: int) -> Built:
    """Build a network with weights drawn from `seed`, leaving torch's global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = network()
    return nn.utils.convert_conv2d_weight_memory_format(built, torch.channels_last)


def describe(network: Network, shape: Shape, **options: object) -> dict[str, Any]:
    """Say in JSON what `rebuild` needs to lay the same layers out again."""
    arguments = {**asdict(shape), "channels": list(shape.channels), "frames": list(shape.frames)}
    return {"name": type(network).__name__, "arguments": {**arguments, **options}}


def rebuild(description: Mapping[str, Any]) -> Network:
    """Lay out the network that was described; raises KeyError, TypeError or ValueError if odd."""
    options = dict(description["arguments"])
    sizes = {entry.name: options.pop(entry.name) for entry in fields(Shape)}
    sizes |= {"frames": tuple(sizes["frames"]), "channels": tuple(sizes["channels"])}
    return NETWORKS[description["name"]](Shape(**sizes), **options)


NETWORKS: dict[str, Callable[..., Network]] = {
    "QNetwork": QNetwork,
    "ActorCritic": ActorCritic,
}
