"""The form in which a network computes fastest: order of its memory, and bfloat16 where it pays."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from a3c.networks.bodies import BACKGROUND

Network = TypeVar("Network", bound=nn.Module)


def to_compute_format(network: Network, device: str, bf16: bool) -> Network:
    """Gives a network its own weights on `device`: convolutions in channels_last order and, with bf16, the
    matrices of its body in bfloat16, so that no forward pass has to convert them. The heads, called
    *_linear, and the background stay float32."""
    for name, parameter in network.named_parameters():
        order = torch.channels_last if parameter.ndim == 4 else torch.contiguous_format
        lowered = bf16 and parameter.ndim > 1 and not name.endswith(("_linear.weight", BACKGROUND))
        # Not `.contiguous(...)`: it leaves a one-channel kernel as it is, which then gives slow output.
        data = torch.empty(
            parameter.shape,
            dtype=torch.bfloat16 if lowered else torch.float32,
            device=device,
            memory_format=order,
        )
        parameter.data = data.copy_(parameter.detach())
    return network


def use_bf16(precision: str, model: str, device: str) -> bool:
    """Whether convolutions and matrix products run in bfloat16: always ("bf16"), never ("fp32"), or where
    that is faster ("auto")."""
    if precision != "auto":
        return precision == "bf16"
    if model in ("mlp", "mlp-deep", "minatar"):  # too small for it to pay
        return False
    if device != "cpu":
        return bool(torch.cuda.is_bf16_supported())
    return cpu_computes_bf16()


def cpu_computes_bf16() -> bool:
    """Whether the processor multiplies bfloat16 natively (AVX-512 BF16 or AMX); elsewhere it is emulated."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
