"""Computing on a device beside the core: page-locked memory, marks in its stream, and CUDA graphs.

A GPU works off what it was told in order, in one stream, while the core goes on. On the CPU all of it is done
at once, so the same code runs there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

WARM_UPS = 3
"""Runs before a function is recorded, in which libraries choose their algorithms and compile."""

TOLERANCE = 0.05
"""How far a graph's first results may be from those without it: `difference`. In bfloat16, and with sums
whose order changes, some per mille are usual; what reads or writes the wrong memory is off by far more."""

_log = logging.getLogger(__name__)


def host_tensor(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Zeros on the CPU; page-locked where `device` is a GPU, which copies only such memory on its own."""
    gpu = device.type == "cuda" and torch.cuda.is_available()
    return torch.zeros(shape, dtype=dtype, pin_memory=gpu)


def host_array(device: torch.device, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The same as an array."""
    if device.type == "cpu":
        return np.zeros(shape, dtype)
    return host_tensor(shape, torch.from_numpy(np.zeros(0, dtype)).dtype, device).numpy()


class Mark:
    """A place in the work of a device that can be waited for."""

    def __init__(self, device: torch.device) -> None:
        gpu = device.type == "cuda"
        self._event = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]

    def set(self) -> None:
        """Puts it behind all work that was begun so far."""
        if self._event is not None:
            self._event.record()

    def wait(self) -> None:
        """Returns when that is done; later work may go on."""
        if self._event is not None:
            self._event.synchronize()


Function = Callable[[], None]
"""Computes tensors from others, all of which exist before and stay where they are; twice is the same as once,
so it writes none that it reads."""

Capture = Callable[[Function, Sequence[torch.Tensor]], Function]
"""Makes a function one that does the same with less delay. The tensors are some of those that it computes, of
floating-point numbers, by which it is seen whether it does."""


class Graphs:
    """A `Capture` that records functions as CUDA graphs when they are called first, and then replays them:
    hundreds of kernels take one launch.

    The first replay has to give what the function gives, up to TOLERANCE. Where it does not, or where
    nothing can be recorded, a warning says so, and this function and all that come later are run as they are.

    The graphs share the memory of what they compute in between, so two must not run at the same time; in one
    stream they do not.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None
        self._graphs: list[torch.cuda.CUDAGraph] = []  # PyTorch's allocator may go on to ask one that failed
        self._trusted = True

    def __call__(self, function: Function, results: Sequence[torch.Tensor]) -> Function:
        known: Function | None = None

        def run() -> None:
            nonlocal known
            if known is None and self._trusted:
                known = self._record(function, results)
            else:
                (known or function)()

        return run

    def _record(self, function: Function, results: Sequence[torch.Tensor]) -> Function | None:
        """What replays the function, after it did so once; None where the function itself had to."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warm_up(function, self._stream)
        wanted = [result.clone() for result in results]
        self._graphs.append(graph := torch.cuda.CUDAGraph())
        try:
            # A recording that fails leaves its own stream behind as the present one.
            present = torch.cuda.stream(torch.cuda.current_stream())
            with present, torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                function()
            for result in results:
                result.fill_(float("nan"))  # so that what is not computed is not taken for it
            graph.replay()
            off = difference(results, wanted)
            trouble = "" if off <= TOLERANCE else f"it gives other numbers, by {100 * off:.1f} %"
        except RuntimeError as error:
            first = error.__context__ or error  # what made the end of the recording fail, too
            trouble = (str(first).strip().splitlines() or [type(first).__name__])[0]
        if not trouble:
            return graph.replay
        self._trusted = False
        _log.warning("no CUDA graph of %s, which is slower without: %s", function.__qualname__, trouble)
        function()
        return None


def difference(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """The largest distance of two tensors, as a share of the length of the wanted one; NaN where one has
    NaNs."""
    shares = [(f - w).norm() / w.norm().clamp(min=1e-6) for f, w in zip(found, wanted, strict=True)]
    return float(torch.stack(shares).max())


def make_capture(device: str) -> Capture | None:
    """What makes graphs on a device beside the core; None for a CPU."""
    return Graphs() if device.startswith("cuda") else None


def warm_up(function: Function, stream: torch.cuda.Stream) -> None:
    """Runs a function in a stream of its own, as PyTorch asks for before a recording, and gives back the
    memory that it took: the graph will have its own."""
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            function()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
