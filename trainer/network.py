"""The network a player thinks with: frames in, one value an action out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# One thread is the fastest beside games that need the other cores, and it makes results the same
# on machines of more or fewer cores.
torch.set_num_threads(1)


class QNetwork(nn.Module):
    """Two convolutions over the stacked frames, then a dueling head (Wang et al., 2016).

    Values of a state and advantages of its actions are estimated apart: most decisions change
    little, and the value of the state is then learned from all of them.
    """

    def __init__(self, observation_shape: tuple[int, int, int], action_count: int) -> None:
        """Lay out the layers for observations of (channels, height, width)."""
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(observation_shape[0], 16, kernel_size=8, stride=4),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=4, stride=2),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            width = self.features(torch.zeros(1, *observation_shape)).shape[1]
        self.hidden = nn.Sequential(nn.Linear(width, 256), nn.ReLU())
        self.value = nn.Linear(256, 1)
        self.advantage = nn.Linear(256, action_count)

    def forward(self, observations: Tensor) -> Tensor:
        """Estimate Q, float [batch, actions], from uint8 [batch, channels, height, width]."""
        # Channels last halves the time of a training pass on a CPU at these sizes.
        pixels = observations.to(torch.float32, memory_format=torch.channels_last).div_(255)
        hidden = self.hidden(self.features(pixels))
        advantage = self.advantage(hidden)
        return self.value(hidden) + advantage - advantage.mean(dim=1, keepdim=True)


def new_network(
    observation_shape: tuple[int, int, int], action_count: int, *, seed: int
) -> QNetwork:
    """Build a network with weights drawn from `seed`, leaving torch's global generator alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = QNetwork(observation_shape, action_count)
    return nn.utils.convert_conv2d_weight_memory_format(network, torch.channels_last)
