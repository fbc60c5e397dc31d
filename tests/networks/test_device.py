"""What makes graphs, with stand-ins for what only a GPU has."""

import logging

import numpy as np
import torch

from a3c.networks import device
from a3c.networks.device import Graphs, Mark, host_array, make_capture


class Graph:
    """A CUDA graph that counts its replays."""

    def __init__(self):
        self.replays = 0

    def replay(self):
        self.replays += 1


class Recording:
    """The context in which a graph is recorded; fails where it is told to."""

    def __init__(self, graph, pool, stream, error=None):
        self.pool, self.error = pool, error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.error:
            raise self.error


def made(monkeypatch, error=None):
    """Graphs on a pretended GPU, and the graphs and pools they make."""
    graphs, pools = [], []

    def graph():
        graphs.append(Graph())
        return graphs[-1]

    def recording(graph, pool, stream):
        pools.append(pool)
        return Recording(graph, pool, stream, error)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(device, "warm_up", lambda function, stream: [function() for _ in range(3)])
    return Graphs(), graphs, pools


def test_a_function_is_recorded_once_and_replayed(monkeypatch):
    capture, graphs, pools = made(monkeypatch)
    calls = []
    functions = [capture(lambda: calls.append("a")), capture(lambda: calls.append("b"))]
    assert calls == []
    for _ in range(3):
        for function in functions:
            function()
    assert calls == ["a"] * 4 + ["b"] * 4  # three to warm up, one to record
    assert [graph.replays for graph in graphs] == [3, 3]
    assert pools[0] is pools[1]


def test_what_cannot_be_recorded_is_run_as_it_is(monkeypatch, caplog):
    error = RuntimeError("operation not permitted when stream is capturing\nmore of it")
    capture, graphs, _ = made(monkeypatch, error)
    calls = []
    function = capture(lambda: calls.append(1))
    with caplog.at_level(logging.WARNING):
        function()
        before = len(calls)
        function()
    assert len(calls) == before + 1
    assert graphs[0].replays == 0
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
