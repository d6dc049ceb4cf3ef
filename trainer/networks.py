"""The networks players think with: frames in, one number an action (and perhaps a value) out.

Shapes: B batch, T steps, C channels, H height, W width, V variables, A actions, S size of the
recurrent state, F game features. A network without a recurrent core has S = 0, so that whoever
plays treats both kinds alike. Its state is all zeros where an episode begins.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

# One thread is the fastest beside games that need the other cores, and it makes results the same
# on machines of more or fewer cores.
torch.set_num_threads(1)

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


class Torso(nn.Module):
    """Convolutions over the stacked frames, a hidden layer, and a recurrent core if asked for."""

    def __init__(self, shape: Shape) -> None:
        """Lay out the layers; raises ValueError where the frames are too small for them."""
        super().__init__()
        sizes = (shape.frames[0], *shape.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=kernel, stride=stride)
            for before, after, (kernel, stride) in zip(sizes[:-1], sizes[1:], _KERNELS, strict=False)
        )
        height, width = shape.frames[1:]
        for kernel, stride in _KERNELS[: len(shape.channels)]:
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
        if min(height, width) < 1:
            raise ValueError(f"frames of {shape.frames[1:]} are too small for {shape.channels}")
        flat = height * width * shape.channels[-1]
        self.hidden = nn.Linear(flat + shape.variables, shape.hidden)
        self.core = nn.LSTMCell(shape.hidden, shape.hidden) if shape.recurrent else None
        for layer in (*self.convolutions, self.hidden):
            # Keeps what differs between frames alive through the rectified layers.
            nn.init.orthogonal_(layer.weight, math.sqrt(2))
            nn.init.zeros_(layer.bias)
        self.state_size = 2 * shape.hidden if shape.recurrent else 0

    def forward(self, seen: Seen, state: Tensor) -> tuple[Tensor, Tensor]:
        """Answer the hidden layer [B, hidden] and the next state, from `state` [B, S]."""
        hidden = self._see(seen)
        if self.core is None:
            return hidden, state
        before, cell = state.chunk(2, dim=1)
        after, cell = self.core(hidden, (before.contiguous(), cell.contiguous()))
        return after, torch.cat((after, cell), dim=1)

    def unroll(self, seen: Seen, state: Tensor, fresh: Tensor) -> Tensor:
        """Answer the hidden layers [T x B, hidden] of sequences laid out step by step.

        `seen` holds T x B observations, `state` [B, S] is the one before the first step, and
        `fresh` bool [T, B] marks the steps with which an episode begins.
        """
        hidden = self._see(seen)
        if self.core is None:
            return hidden
        before, cell = (part.contiguous() for part in state.chunk(2, dim=1))
        answers = []
        for now, begins in zip(hidden.unflatten(0, fresh.shape), fresh, strict=True):
            kept = (~begins).to(hidden.dtype)[:, None]
            before, cell = self.core(now, (before * kept, cell * kept))
            answers.append(before)
        return torch.cat(answers)

    def _see(self, seen: Seen) -> Tensor:
        # Channels last halves the time of a training pass on a CPU at these sizes.
        pixels = seen.frames.to(memory_format=torch.channels_last).float()
        first, *others = self.convolutions
        # Scaling the few weights of the first layer scales the many pixels.
        answer = functional.conv2d(pixels, first.weight / 255, first.bias, first.stride).relu_()
        for convolution in others:
            answer = convolution(answer).relu_()
        flat = answer.flatten(1)
        if seen.variables.shape[1]:
            flat = torch.cat((flat, seen.variables), dim=1)
        return self.hidden(flat).relu_()


class QNetwork(nn.Module):
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


class ActorCritic(nn.Module):
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


def build(network: Callable[[], nn.Module], *, seed: int) -> nn.Module:
    """Build a network with weights drawn from `seed`, leaving torch's global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        built = network()
    return nn.utils.convert_conv2d_weight_memory_format(built, torch.channels_last)


def describe(network: nn.Module, shape: Shape, **options: object) -> dict[str, object]:
    """Say in JSON what `rebuild` needs to lay the same layers out again."""
    arguments = {**asdict(shape), "channels": list(shape.channels), "frames": list(shape.frames)}
    return {"name": type(network).__name__, "arguments": {**arguments, **options}}


def rebuild(description: dict[str, object]) -> nn.Module:
    """Lay out the network that was described; raises KeyError, TypeError or ValueError if odd."""
    arguments = dict(description["arguments"])  # type: ignore[call-overload]
    names = {"frames", "action_count", "variables", "features", "channels", "hidden", "recurrent"}
    sizes = {name: arguments.pop(name) for name in names}
    sizes |= {"frames": tuple(sizes["frames"]), "channels": tuple(sizes["channels"])}
    return NETWORKS[str(description["name"])](Shape(**sizes), **arguments)


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "QNetwork": QNetwork,
    "ActorCritic": ActorCritic,
}
