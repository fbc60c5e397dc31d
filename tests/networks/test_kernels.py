"""Triton's kernels against PyTorch's: on a GPU (pytest -m gpu) or, where Triton is installed, in its
interpreter (TRITON_INTERPRET=1)."""

import math
import os

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("triton")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("no CUDA device, and TRITON_INTERPRET is not 1", allow_module_level=True)
kernels = pytest.importorskip("a3c.networks.kernels")

pytestmark = [pytest.mark.gpu] if torch.cuda.is_available() else []
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LAST = torch.channels_last
SHAPES = [(2, 32, 8, 8), (3, 64, 9, 7), (1, 32, 5, 2), (2, 32, 80, 80)]


def plain(image, bias):
    return torch.relu(F.max_pool2d(image.float() + bias[:, None, None], 2)).to(image.dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_bias_pooling_and_relu(shape, kind):
    torch.manual_seed(0)
    # Halves, so that no sum is rounded; of several that are the largest, the first one counts.
    image, bias = ((2 * torch.randn(s)).round() / 2 for s in (shape, shape[1]))
    image = image.to(DEVICE, kind).contiguous(memory_format=LAST).requires_grad_()
    bias = bias.to(DEVICE).requires_grad_()
    ours, theirs = kernels.BiasPoolRelu.apply(image, bias), plain(image, bias)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    gradient = torch.randn_like(ours)
    ours, theirs = (torch.autograd.grad(y, (image, bias), gradient) for y in (ours, theirs))
    torch.testing.assert_close(ours[0], theirs[0], rtol=0, atol=0)
    torch.testing.assert_close(ours[1], theirs[1], rtol=1e-2 if kind == torch.bfloat16 else 1e-4, atol=1e-2)


def test_a_nan_is_seen():
    image = torch.zeros(1, 32, 4, 4, device=DEVICE).contiguous(memory_format=LAST)
    image[0, 3, 2, 1] = math.nan
    result = kernels.BiasPoolRelu.apply(image, torch.zeros(32, device=DEVICE))
    assert result.isnan().nonzero().tolist() == [[0, 3, 1, 0]]


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_scaling(channels, kind):
    torch.manual_seed(0)
    image = torch.randint(0, 256, (3, channels, 20, 12), dtype=torch.uint8, device=DEVICE)
    background = 255 * torch.rand(channels, 20, 12, device=DEVICE)
    found = kernels.scale(image, background, kind)
    rounding = 2**-7 if kind == torch.bfloat16 else 0  # Triton's interpreter cuts off where a GPU rounds
    expected = ((image.float() - background) / 64).to(kind)
    torch.testing.assert_close(found, expected, rtol=rounding, atol=0)
    assert found.is_contiguous(memory_format=LAST)


def test_one_byte_per_result_is_kept():
    image = torch.randn(4, 32, 40, 40, device=DEVICE).contiguous(memory_format=LAST).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        kernels.BiasPoolRelu.apply(image, torch.zeros(32, device=DEVICE))
    assert sum(kept) == image.numel() / 4
