"""Triton kernels for a GPU: what A3Clstm does beside its convolutions, each in one pass over memory.

Bias, 2x2 max-pooling and ReLU together read every number of an image once and keep one byte per result for
the gradient. PyTorch goes over the image three times for it, keeps 8-byte indices, and as often on the way
back.
Images are in channels_last order. Import this module only where there is Triton, as with PyTorch for CUDA.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

LAST = torch.channels_last

BLOCK = 256
"""Results that a program makes at a time."""

WARPS = 2
"""Of 32 threads each, with 4 results a thread: 8 bytes at a time."""

OFF = tl.constexpr(4)
"""As the origin of a result: none of the four, since ReLU made it 0."""


@triton.jit
def _place(H, W, C: tl.constexpr, BLOCK: tl.constexpr):
    """Of a program's results, which are in one row: their numbers, which of them there are, their channels,
    and the first of the four numbers that each is made of."""
    row = tl.program_id(0)  # of all images
    j = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    across = (W // 2) * C
    top = ((row // (H // 2)) * H + 2 * (row % (H // 2))).to(tl.int64) * (W * C)
    return row.to(tl.int64) * across + j, j < across, j % C, top + 2 * C * (j // C) + j % C


@triton.jit(do_not_specialize=["H", "W"])  # one compilation for all layers of so many channels
def _pool(image, bias, result, origin, H, W, C: tl.constexpr, BLOCK: tl.constexpr):
    n, there, channel, first = _place(H, W, C, BLOCK)
    largest = tl.load(image + first, there, other=0.0).to(tl.float32)
    chosen = tl.zeros([BLOCK], tl.int32)
    for k in tl.static_range(1, 4):
        step = ((k // 2) * W + k % 2) * C
        x = tl.load(image + first + step, there, other=0.0).to(tl.float32)
        better = (x > largest) | (x != x)  # a NaN is above all numbers, so that it is noticed
        largest = tl.where(better, x, largest)
        chosen = tl.where(better, k, chosen)
    total = largest + tl.load(bias + channel, there, other=0.0).to(tl.float32)
    off = total <= 0
    tl.store(result + n, tl.where(off, 0.0, total).to(result.dtype.element_ty), there)
    tl.store(origin + n, tl.where(off, OFF, chosen).to(tl.uint8), there)


@triton.jit(do_not_specialize=["H", "W"])
def _unpool(gradient, origin, result, H, W, C: tl.constexpr, BLOCK: tl.constexpr):
    n, there, _, first = _place(H, W, C, BLOCK)
    value = tl.load(gradient + n, there, other=0.0)
    chosen = tl.load(origin + n, there, other=0).to(tl.int32)
    for k in tl.static_range(0, 4):
        step = ((k // 2) * W + k % 2) * C
        tl.store(result + first + step, tl.where(chosen == k, value, 0.0).to(result.dtype.element_ty), there)


@triton.jit
def _scale(image, background, result, count, C: tl.constexpr, P: tl.constexpr, BLOCK: tl.constexpr):
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)  # result [image, place, channel]
    there = n < count
    plane = (n % C) * P + (n // C) % P  # image [image, channel, place]
    x = tl.load(image + (n // (C * P)) * (C * P) + plane, there, other=0).to(tl.float32)
    x = (x - tl.load(background + plane, there, other=0.0)) * 0.015625
    tl.store(result + n, x.to(result.dtype.element_ty), there)


class BiasPoolRelu(torch.autograd.Function):
    """ReLU of 2x2 max-pooling of an image [B, C, H, W] and a bias [C]: [B, C, H // 2, W // 2]."""

    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        image = image.contiguous(memory_format=LAST)
        batch, channels, height, width = ctx.shape = image.shape
        shape = (batch, channels, height // 2, width // 2)
        result = torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=LAST)
        origin = torch.empty(shape, dtype=torch.uint8, device=image.device, memory_format=LAST)
        _pool[_grid(image.shape)](
            image, bias, result, origin, height, width, channels, BLOCK, num_warps=WARPS
        )
        ctx.save_for_backward(origin)
        return result

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (origin,) = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=LAST)
        _, channels, height, width = ctx.shape
        result = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=LAST)
        if height % 2 or width % 2:  # what belongs to no four
            result.zero_()
        _unpool[_grid(ctx.shape)](gradient, origin, result, height, width, channels, BLOCK, num_warps=WARPS)
        of_bias = (gradient * (origin < OFF.value)).sum((0, 2, 3), dtype=torch.float32)
        return result, of_bias


def _grid(shape: torch.Size) -> tuple[int, int]:
    batch, channels, height, width = shape
    return batch * (height // 2), triton.cdiv(width // 2 * channels, BLOCK)


def scale(image: torch.Tensor, background: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What `bodies.scale_image` gives, in `dtype`: of uint8 [B, C, H, W]."""
    image = image.contiguous()
    _, channels, height, width = image.shape
    result = torch.empty(image.shape, dtype=dtype, device=image.device, memory_format=LAST)
    count = image.numel()
    _scale[(triton.cdiv(count, 4 * BLOCK),)](
        image, background.contiguous(), result, count, channels, height * width, 4 * BLOCK
    )
    return result


def try_out() -> None:
    """Raises whatever keeps these kernels from being compiled and run on the present GPU."""
    with torch.enable_grad():
        image = scale(
            torch.ones(1, 32, 2, 2, device="cuda", dtype=torch.uint8),
            torch.zeros(32, 2, 2, device="cuda"),
            torch.bfloat16,
        ).requires_grad_()
        torch.autograd.grad(BiasPoolRelu.apply(image, torch.zeros(32, device="cuda")).sum(), image)
    torch.cuda.synchronize()
