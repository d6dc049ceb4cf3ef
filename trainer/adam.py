"""Adam (Kingma & Ba 2015, algorithm 1), in torch's own kernel.

`torch.optim.Adam` does the same, but its class loads torch's compiler: a second at every start, for
nothing that is used here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.optim.adam import adam

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

_MEANS_DECAY, _SQUARES_DECAY = 0.9, 0.999
# Larger than usual: reinforcement learning's gradients are small where it has nothing to learn.
_EPSILON = 1e-5


class Adam:
    """Moves parameters by `rate` times the mean of their gradients over its own deviation.

    Where there is no gradient, nothing moves. A gradient lies in memory as its parameter does,
    which autograd sees to. `rate` may change between steps; on a GPU it may be a tensor there.
    Taking a step does nothing on the host, so it can be captured in a CUDA graph.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float) -> None:
        """Begin with moments of 0; they lie in memory as their parameters do."""
        self.rate: float | Tensor = rate
        self._parameters = parameters
        self._means = [torch.zeros_like(one) for one in parameters]
        self._squares = [torch.zeros_like(one) for one in parameters]
        self._steps = [torch.zeros((), device=one.device) for one in parameters]

    @property
    def steps_taken(self) -> int:
        """How many steps were taken; a GPU is waited for."""
        # A parameter without a gradient sits steps out, so the most of them are all of them.
        return max(int(steps) for steps in self._steps)

    def clear(self) -> None:
        """Forget the gradients."""
        for one in self._parameters:
            one.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take a step down the gradients."""
        entries = zip(self._parameters, self._means, self._squares, self._steps, strict=True)
        moved = [(one.grad, entry) for entry in entries if (one := entry[0]).grad is not None]
        parameters, means, squares, steps = zip(*(entry for _, entry in moved), strict=True)
        adam(
            list(parameters),
            [gradient for gradient, _ in moved],
            list(means),
            list(squares),
            [],
            list(steps),
            fused=True,
            amsgrad=False,
            maximize=False,
            beta1=_MEANS_DECAY,
            beta2=_SQUARES_DECAY,
            lr=self.rate,
            weight_decay=0.0,
            eps=_EPSILON,
        )

    def state(self) -> dict[str, Tensor]:
        """Show the moments by the number of their parameter: "0.mean", "0.square", "0.step"."""
        return {
            f"{index}.{name}": kept[index]
            for name, kept in self._kept().items()
            for index in range(len(kept))
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` showed; raises KeyError where something is missing."""
        for name, kept in self._kept().items():
            for index, tensor in enumerate(kept):
                tensor.copy_(state[f"{index}.{name}"])

    def _kept(self) -> dict[str, list[Tensor]]:
        return {"mean": self._means, "square": self._squares, "step": self._steps}
