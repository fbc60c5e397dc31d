"""Computing on a device beside the core: page-locked memory, marks in its stream, and CUDA graphs.

A GPU works off what it was told in order, in one stream, while the core goes on. On the CPU all of it is done
at once, so the same code runs there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

WARM_UPS = 3
"""Runs before a function is recorded, in which libraries choose their algorithms and compile."""

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

Capture = Callable[[Function], Function]
"""Makes a function one that does the same with less delay."""


class Graphs:
    """A `Capture` that records functions as CUDA graphs when they are called first, and then replays them:
    hundreds of kernels take one launch. What cannot be recorded is run as it is, with a warning.

    The graphs share the memory of what they compute in between, so two must not run at the same time; in one
    stream they do not.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._stream: Any = None

    def __call__(self, function: Function) -> Function:
        replay: Function | None = None

        def run() -> None:
            nonlocal replay
            if replay is None:
                replay = self._record(function)
            replay()

        return run

    def _record(self, function: Function) -> Function:
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        warm_up(function, self._stream)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
                function()
        except RuntimeError as error:
            words = str(error).strip().splitlines() or [type(error).__name__]
            _log.warning("no CUDA graph of %s, which is slower without: %s", function.__qualname__, words[0])
            return function
        return graph.replay


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
