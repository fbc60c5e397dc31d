"""What makes graphs, with stand-ins for what only a GPU has."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from a3c.networks import device
from a3c.networks.device import TOLERANCE, Graphs, Mark, host_array, make_capture


class Gpu:
    """Pretends to record and to replay; a replay does what it is told to."""

    def __init__(self, monkeypatch, *errors):
        self.replays, self.pools, self.errors = [], [], errors
        for name in ("Stream", "graph_pool_handle", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, object)
        monkeypatch.setattr(torch.cuda, "stream", nullcontext)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", SimpleNamespace)
        monkeypatch.setattr(torch.cuda, "graph", self.recording)
        monkeypatch.setattr(device, "warm_up", lambda function, stream: [function() for _ in range(3)])

    @contextmanager
    def recording(self, graph, pool, stream):
        self.pools.append(pool)
        graph.replay = self.replays.pop(0)
        try:
            yield
            if self.errors:
                raise self.errors[0]
        finally:  # as PyTorch does: what ends the recording fails too
            if self.errors:
                raise RuntimeError("operation failed due to a previous error during capture")


class Doubling:
    """A function whose calls are counted."""

    def __init__(self, off=0.0):
        self.given, self.result = torch.arange(4.0), torch.zeros(4)
        self.calls = self.replays = 0
        self.off = off
        self.__qualname__ = "Doubling"

    def __call__(self):
        self.calls += 1
        self.result.copy_(2 * self.given)

    def replay(self):
        self.replays += 1
        self.result.copy_((2 + self.off) * self.given)


def check(function, doubling):
    """That it works with any input."""
    for _ in range(3):
        doubling.given += 1
        doubling.result.fill_(-1)
        function()
        assert torch.equal(doubling.result, 2 * doubling.given)


def test_a_function_is_recorded_once_and_replayed(monkeypatch):
    gpu, capture = Gpu(monkeypatch), Graphs()
    doublings = Doubling(), Doubling()
    gpu.replays = [doubling.replay for doubling in doublings]
    functions = [capture(doubling, [doubling.result]) for doubling in doublings]
    assert not any(doubling.calls for doubling in doublings)
    for function, doubling in zip(functions, doublings, strict=True):
        check(function, doubling)
        assert (doubling.calls, doubling.replays) == (4, 3)  # called to warm up, and to be recorded
    assert gpu.pools[0] is gpu.pools[1]


@pytest.mark.parametrize(
    ("replay", "words"),
    [(lambda d: d.result.copy_(2.2 * d.given), "by 10.0 %"), (lambda d: None, "by nan %")],
    ids=["other numbers", "nothing"],
)
def test_a_graph_that_does_not_give_the_same_is_not_used(monkeypatch, caplog, replay, words):
    gpu, capture, first, second = Gpu(monkeypatch), Graphs(), Doubling(), Doubling()
    gpu.replays = [lambda: replay(first)]
    for doubling in (first, second):  # no other is tried
        check(capture(doubling, [doubling.result]), doubling)
    assert (first.calls, second.calls) == (3 + 1 + 3, 3)
    (record,) = caplog.records
    assert record.getMessage().startswith("no CUDA graph of Doubling")
    assert words in record.getMessage()


def test_a_graph_may_round_otherwise(monkeypatch, caplog):
    gpu, capture, doubling = Gpu(monkeypatch), Graphs(), Doubling(off=2 * TOLERANCE / 1.1)
    gpu.replays = [doubling.replay]
    capture(doubling, [doubling.result])()
    assert (doubling.replays, caplog.records) == (1, [])


def test_what_cannot_be_recorded_is_run_as_it_is(monkeypatch, caplog):
    error = RuntimeError("operation not permitted when stream is capturing\nmore of it")
    gpu, capture, first, second = Gpu(monkeypatch, error), Graphs(), Doubling(), Doubling()
    gpu.replays = [first.replay]
    for doubling in (first, second):
        check(capture(doubling, [doubling.result]), doubling)
    assert (first.replays, second.calls) == (0, 3)
    (record,) = caplog.records
    assert "operation not permitted" in record.getMessage()
    assert "\n" not in record.getMessage()


def test_on_a_cpu_nothing_is_special():
    assert make_capture("cpu") is None
    mark = Mark(torch.device("cpu"))
    mark.set()
    mark.wait()
    array = host_array(torch.device("cpu"), (2, 3), np.uint8)
    assert (array.shape, array.dtype) == ((2, 3), np.uint8)
