"""2x2 max-pooling and ReLU in one pass that keeps, for the backward pass, one byte per result.

PyTorch's `max_pool2d` keeps its input and 8-byte indices, 8 to 12 times the size of the result, and on a CPU
takes longer than the convolution before it. The loops are in pooling.c, which is compiled when the package is
installed; without a compiler PyTorch does the same, to the bit. On a GPU the loops are Triton's (kernels.py),
with the convolution's bias in the same pass.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

LAST = torch.channels_last
_log = logging.getLogger(__name__)


def _load(kind: str) -> ctypes.CDLL | None:
    """The compiled loops for one kind of number; None where there are none, or none that fit this machine."""
    spec = find_spec(f"a3c.networks._pooling_{kind}")
    if spec is None or spec.origin is None:
        return None
    try:
        library = ctypes.CDLL(spec.origin)
    except OSError:
        return None
    for function in (library.pool_relu, library.pool_relu_backward):
        function.argtypes, function.restype = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 4, None
    return library


_libraries = {torch.bfloat16: _load("bfloat16"), torch.float32: _load("float32")}

COMPILED = None not in _libraries.values()
"""Whether pooling.c was compiled with this installation."""


@cache
def gpu_kernels() -> Any:
    """The module `kernels`, where it works; None where PyTorch has no Triton, or Triton no compiler."""
    try:
        from a3c.networks import kernels

        kernels.try_out()
    except Exception as error:  # whatever a compiler or a driver may say
        words = str(error).strip().splitlines() or [type(error).__name__]
        _log.warning("no fused kernels on the GPU, which is slower without: %s", words[0])
        return None
    return kernels


def convolve_and_pool(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """ReLU of 2x2 max-pooling of a convolution of stride 1."""
    kernels = gpu_kernels() if x.device.type == "cuda" else None
    if kernels is None:
        return pool_and_relu(conv(x))
    y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding)
    result: torch.Tensor = kernels.BiasPoolRelu.apply(y, conv.bias)
    return result


def pool_and_relu(x: torch.Tensor) -> torch.Tensor:
    """ReLU of 2x2 max-pooling, [B, C, H, W] to [B, C, H // 2, W // 2]."""
    fits = x.dtype in _libraries and x.device.type == "cpu" and x.is_contiguous(memory_format=LAST)
    function: Any = _Compiled if COMPILED and fits else _Plain
    result: torch.Tensor = function.apply(x)
    return result


class _Compiled(torch.autograd.Function):
    """For images in channels_last order on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = ctx.shape = x.shape
        shape = (batch, channels, height // 2, width // 2)
        y = torch.empty(shape, dtype=x.dtype, memory_format=LAST)
        origin = torch.empty(shape, dtype=torch.uint8, memory_format=LAST)
        _run("pool_relu", x, y, origin, x.shape)
        ctx.save_for_backward(origin)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (origin,) = ctx.saved_tensors
        result = torch.empty(ctx.shape, dtype=gradient.dtype, memory_format=LAST)
        _run("pool_relu_backward", gradient.contiguous(memory_format=LAST), origin, result, ctx.shape)
        return result


def _run(name: str, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor, shape: torch.Size) -> None:
    """A compiled loop on three tensors; `shape` [B, C, H, W] is that of the image before pooling."""
    batch, channels, height, width = shape
    function = getattr(_libraries[a.dtype], name)
    function(a.data_ptr(), b.data_ptr(), c.data_ptr(), batch, height, width, channels)


class _Plain(torch.autograd.Function):
    """PyTorch's kernels, keeping the indices and the result only: half of what `F.max_pool2d` keeps."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        pooled, indices = F.max_pool2d(x, 2, return_indices=True)
        y = pooled.relu_()
        ctx.save_for_backward(indices, y)
        ctx.shape = x.shape
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        indices, y = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, y, 0)
        # The kernel asks its input for shape and memory order alone; these pages are never touched.
        order = LAST if y.is_contiguous(memory_format=LAST) else torch.contiguous_format
        like = torch.empty(ctx.shape, dtype=y.dtype, device=y.device, memory_format=order)
        result: torch.Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient, like, [2, 2], [2, 2], [0, 0], [1, 1], False, indices
        )
        return result
