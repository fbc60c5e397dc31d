"""Bodies of networks: what stands between an observation and the heads, and what all of them have in common.

Images come as uint8 and are centred and scaled here, (x - background) / 64, where the background is the mean
picture of some random play, measured once before training. It is kept with the weights, but not learned.
A ball is two pixels: unless what stands still is taken away, the features of all pictures are so nearly the
same that the critic sees no difference between them for hundreds of thousands of steps, or ever.
Weights start orthogonal with gain sqrt(2) (Saxe et al. 2014), biases at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from a3c.networks.pooling import gpu_kernels

BACKGROUND = "background"
"""Name, in every network for images, of the picture [C, H, W] that is subtracted from what it sees."""


Size = tuple[int, int]
"""Height and width of a picture."""


def make_background(channels: int, height: int, width: int) -> nn.Parameter:
    """A constant among a network's parameters, so that it goes wherever they go. Grey until measured."""
    return nn.Parameter(torch.full((channels, height, width), 128.0), requires_grad=False)


def scale_image(
    observation: torch.Tensor, background: torch.Tensor, dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """uint8 [B, C, H, W] to floats around 0, in channels_last order, which convolutions prefer; on a GPU in
    `dtype`, else float32."""
    if observation.device.type == "cuda" and (kernels := gpu_kernels()):
        scaled: torch.Tensor = kernels.scale(observation, background, dtype)
        return scaled
    x = observation.float().sub_(background).mul_(1 / 64)
    return x.contiguous(memory_format=torch.channels_last)


def convolve_planes(conv: nn.Conv2d, observation: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
    """A convolution of stacked frames, uint8 [B, C, H, W], scaled as by `scale_image`; its kernel is a
    multiple of its stride s.

    Fast convolutions want all channels of a pixel side by side, and bringing frames into that order takes
    nearly as long as the convolution. But s pixels of a row are side by side already: taken as the channels
    of an image of C planes, H rows and W / s columns, they need no copy, and the sum is the same.
    """
    (batch, channels, height, width), stride = observation.shape, conv.stride[0]
    columns, kernel = width // stride, conv.kernel_size[0]
    x = observation[..., : columns * stride].float().sub_(background[..., : columns * stride])
    x = x.mul_(1 / 64).to(conv.weight.dtype)
    x = x.view(batch, channels, height, columns, stride).permute(0, 4, 1, 2, 3)
    weight = conv.weight.reshape(-1, channels, kernel, kernel // stride, stride).permute(0, 4, 1, 2, 3)
    y: torch.Tensor = F.conv3d(x, weight, conv.bias, (1, stride, 1))
    return y.squeeze(2)


def conv_side(size: int, kernel: int, stride: int) -> int:
    """Height or width after an unpadded convolution."""
    return (size - kernel) // stride + 1


def initialise(network: nn.Module) -> None:
    """Orthogonal weights, zero biases; see the head of this module."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.orthogonal_(module.weight, math.sqrt(2))
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.LSTMCell):
            for weight in (module.weight_ih, module.weight_hh):
                nn.init.orthogonal_(weight, 1.0)
            nn.init.zeros_(module.bias_ih)
            nn.init.zeros_(module.bias_hh)


class NatureBody(nn.Module):
    """The layers of the Nature DQN before its head (Mnih et al. 2015).

    Observation [B, C, H, W] uint8, 84x84 in theirs, from 36x36 here. 32 filters 8x8 stride 4, 64 4x4 stride
    2, 64 3x3 stride 1, 512 units.
    """

    units = 512

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.background = make_background(channels, *size)
        self.conv1 = nn.Conv2d(channels, 32, 8, stride=4)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2)
        self.conv3 = nn.Conv2d(64, 64, 3, stride=1)
        height, width = (conv_side(conv_side(conv_side(side, 8, 4), 4, 2), 3, 1) for side in size)
        self.fc = nn.Linear(64 * height * width, self.units)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        """What the convolutions see: [B, F] of an observation [B, C, H, W]."""
        x = F.relu(convolve_planes(self.conv1, observation, self.background))
        x = F.relu(self.conv2(x))
        # ReLU after flattening: the gradient that comes back is then in the same order as its input.
        return F.relu(self.conv3(x).flatten(1))

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """[..., F] to [..., 512]."""
        return F.relu(self.fc(features))


class MinAtarBody(nn.Module):
    """The layers of MinAtar's networks before their heads (Young & Tian 2019), for pictures of few pixels.

    Observation [B, C, H, W] uint8. 16 filters 3x3 stride 1, 128 units. Unlike theirs, both layers are
    normalised over all their outputs before the ReLU, as in PQN (Gallici et al. 2024): learning is steadier,
    and a plane may hold 0 and 255 or the numbers of a few kinds of things.
    """

    units = 128

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.background = make_background(channels, *size)
        self.conv1 = nn.Conv2d(channels, 16, 3)
        self.conv1_norm = nn.GroupNorm(1, 16)
        height, width = (conv_side(side, 3, 1) for side in size)
        self.fc = nn.Linear(16 * height * width, self.units)
        self.fc_norm = nn.LayerNorm(self.units)

    def features(self, observation: torch.Tensor) -> torch.Tensor:
        """What the convolution sees: [B, F] of an observation [B, C, H, W]."""
        x = self.conv1(scale_image(observation, self.background))
        return F.relu(self.conv1_norm(x)).flatten(1)

    def embed(self, features: torch.Tensor) -> torch.Tensor:
        """[..., F] to [..., 128]."""
        return F.relu(self.fc_norm(self.fc(features)))


class PixelsBody(nn.Module):
    """Three convolutions 16, 32, 32 @5x5 s2, each followed by a norm and ReLU, as in PyTorch's CartPole
    tutorial. Observation [B, C, H, W] uint8.

    The norm is each picture's own (one group over channels and places), not the batch's: what a picture is
    worth must not depend on which others come with it, and there are no running statistics that the
    processes would have to share beside the weights.
    """

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        height, width = size
        self.background = make_background(channels, height, width)
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 16), (16, 32), (32, 32)):
            layers += [nn.Conv2d(inputs, outputs, 5, stride=2), nn.GroupNorm(1, outputs), nn.ReLU()]
            height, width = conv_side(height, 5, 2), conv_side(width, 5, 2)
        self.layers = nn.Sequential(*layers)
        self.units = 32 * height * width
        initialise(self)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.layers(scale_image(observation, self.background))
        return x.flatten(1)


def mlp_body(inputs: int, hidden: Sequence[int]) -> nn.Sequential:
    """Linear layers with ReLU. Observation [B, F] float32.

    They keep torch's own initialisation, whose biases are not 0: without them every unit bends at the
    origin, and a value that drops at the edge of a small vector's range is hard to learn.
    """
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units), nn.ReLU()]
        inputs = units
    return nn.Sequential(*layers)
