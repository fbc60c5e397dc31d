"""Pooling with ReLU, compiled and plain, against PyTorch's."""

import ctypes
import math
import shutil
import subprocess

import pytest
import torch

from a3c.networks import pooling
from a3c.networks.pooling import pool_and_relu

LAST = torch.channels_last
SHAPES = [(2, 3, 8, 8), (3, 4, 9, 7), (1, 32, 5, 2), (4, 64, 18, 18)]


def assert_as_torch(x):
    """The same results and the same gradients, to the bit."""
    x.requires_grad_()
    ours, theirs = pool_and_relu(x), torch.relu(torch.nn.functional.max_pool2d(x, 2))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)
    gradient = torch.randn_like(ours)
    ours, theirs = (torch.autograd.grad(y, x, gradient)[0] for y in (ours, theirs))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.fixture(params=["compiled", "plain"])
def _kernel(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(pooling, "COMPILED", False)
    elif not pooling.COMPILED:
        pytest.skip("a3c/networks/pooling.c was not compiled with this installation")


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("order", [LAST, torch.contiguous_format])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_it_is_torchs(shape, order, kind):
    torch.manual_seed(0)
    ties = torch.randn(shape).round(decimals=1)  # where several places are the largest, the first one counts
    assert_as_torch(ties.to(kind).contiguous(memory_format=order))


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_what_is_no_plain_number_goes_through(kind):
    """A NaN must be seen by whoever looks at the loss; it is above all numbers, whatever its sign."""
    values = [0.0, -0.0, math.inf, -math.inf, 1e-40, -1e-40, 3e38, -3e38, 1.0, -1.0]
    torch.manual_seed(0)
    picked = torch.tensor(values)[torch.randint(len(values), (2, 8, 12, 12))]
    assert_as_torch(picked.to(kind).contiguous(memory_format=LAST))
    for nan in (math.nan, math.copysign(math.nan, -1.0)):
        x = torch.zeros(1, 8, 4, 4, dtype=kind).contiguous(memory_format=LAST)
        x[0, 3, 2, 1] = nan
        assert pool_and_relu(x).isnan().nonzero().tolist() == [[0, 3, 1, 0]]


@pytest.mark.usefixtures("_kernel")
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
def test_little_is_kept_for_the_backward_pass(kind):
    x = torch.randn(4, 32, 40, 40).to(kind).contiguous(memory_format=LAST).requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.nbytes) or t, lambda t: t):
        pool_and_relu(x)
    assert sum(kept) <= x.nbytes * 10 / 8  # 8-byte indices and the result; compiled, one byte each
    if pooling.COMPILED:
        assert sum(kept) == x.numel() / 4


def test_a_library_that_does_not_fit_is_done_without(tmp_path, monkeypatch):
    """An installation copied from another kind of machine."""
    broken = tmp_path / "_pooling_float32.so"
    broken.write_bytes(b"not for this processor")
    monkeypatch.setattr(pooling, "find_spec", lambda name: type("Spec", (), {"origin": str(broken)}))
    assert pooling._load("float32") is None
    monkeypatch.setattr(pooling, "find_spec", lambda name: None)
    assert pooling._load("float32") is None


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
@pytest.mark.parametrize("kind", ["BFLOAT16", "FLOAT32"])
def test_the_source_compiles_without_a_warning(tmp_path, kind):
    library = tmp_path / "pooling.so"
    source = pooling.__file__.replace(".py", ".c")
    flags = ["-O3", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-D{kind}"]
    subprocess.run(["cc", *flags, source, "-o", str(library)], check=True, capture_output=True)
    assert ctypes.CDLL(str(library)).pool_relu
