"""A discrete-event model of a cluster: how often its nodes exchange, and what is lost, with 1 to 1,000 nodes.

    python -m benchmarks.cluster_model            # the table, the result, and docs/images/cluster-model.png
    python -m benchmarks.cluster_model --weights 600000 --gigabits 1 --interval 5 --nodes 50

A node works, and `interval` seconds after each reply it sends what it learned, 2 bytes a weight, to the
anchor, which answers with as many. The anchor is a line in, a processor and a line out; each serves one
exchange at a time, in the order of arrival. In several shards (not built: the model is to tell when they pay
off) each machine holds a part of the weights, and an exchange is over when all have answered. Nodes
fail at random: what one has learned since its last exchange is lost, and it is back after a while. When the
machine of the anchor fails, all lose that.

What it leaves out: other traffic, lost packets, switches, memory bandwidth, nodes of different speed, Ray's
own work with hundreds of nodes, and what older weights do to learning: it tells how old they are, not how
much worse is learned from them.
"""

from __future__ import annotations

import argparse
import heapq
import random
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

from matplotlib.figure import Figure

from benchmarks.common import ROOT, keep, table

A3C_LSTM = 3_255_013
"""Weights of the network of `A3Clstm` with four actions."""

PLOT = ROOT / "docs" / "images" / "cluster-model.png"
_HOW = "CPU time, measured with Ray 2.60.0 on two raylets, loopback, on one of 2 busy cores"
MEASURED = {
    "anchor_call_s": (3.0e-3, f"the anchor's process for an exchange of few weights: {_HOW}"),
    "anchor_weight_s": (26e-3 / 3.3e6, f"and for each weight, 29 ms for 3.3 million: {_HOW}"),
    "node_call_s": (7.0e-3, f"a node's process for an exchange of few weights: {_HOW}"),
    "node_weight_s": (14e-3 / 3.3e6, f"and for each weight, 21 ms for 3.3 million: {_HOW}"),
    "back_s": (
        14.4 + 2.7,
        "until a killed node is marked dead, and its actor is back on a new one: measured with Ray 2.60.0 on "
        "two raylets",
    ),
}
"""Seconds, and where they are from."""


@dataclass(frozen=True)
class Cluster:
    """What is modelled."""

    nodes: int
    interval_s: float = 1.0
    weights: int = A3C_LSTM
    gigabits: float = 10.0  # a second, each way, of every machine
    latency_s: float = 0.1e-3  # one way
    shards: int = 1
    failures: float = 0.0  # a machine and hour

    @property
    def line_s(self) -> float:
        """One shard's part of an exchange on a line."""
        return 2 * 8 * self.weights / self.shards / (self.gigabits * 1e9)

    @property
    def anchor_s(self) -> float:
        """The same in an anchor's processor."""
        a_weight = MEASURED["anchor_weight_s"][0]
        return MEASURED["anchor_call_s"][0] + a_weight * self.weights / self.shards

    @property
    def node_s(self) -> float:
        """An exchange in a node's processor."""
        return MEASURED["node_call_s"][0] + MEASURED["node_weight_s"][0] * self.weights

    @property
    def alone_s(self) -> float:
        """From exchange to exchange of a node that meets no other."""
        spread = (self.shards - 1) * self.line_s  # a node sends and hears one shard after the other
        return self.interval_s + self.node_s + 2 * (self.latency_s + self.line_s) + self.anchor_s + spread

    @property
    def bend(self) -> float:
        """The number of nodes from which on they wait for each other."""
        return self.alone_s / max(self.line_s, self.anchor_s)


@dataclass(frozen=True)
class Outcome:
    """What a simulated cluster did."""

    interval_s: float  # mean, between two exchanges of a node
    exchanges_per_s: float  # of all
    line_busy: float  # share of the time, the busiest line of an anchor
    anchor_busy: float  # the busiest processor
    useful: float  # share of the nodes' time whose learning came into the cluster's weights


@dataclass
class _Node:
    """Of one node, at a moment."""

    life: int = 0  # events of an earlier one are void
    up: bool = True
    since: float = 0.0  # what was learned before that is sent
    asked: float = 0.0
    waiting: int = 0  # shards that have still to answer
    line: float = 0.0  # its line in is busy until then


class Simulation:
    """See the module."""

    def __init__(self, cluster: Cluster, seconds: float, seed: int = 0) -> None:
        self._c, self._end, self._random = cluster, seconds, random.Random(seed)
        self._events: list[tuple[float, int, str, int, int, int]] = []
        self._order = count()
        self._nodes = [_Node() for _ in range(cluster.nodes)]
        self._free = {stage: [0.0] * cluster.shards for stage in ("in", "anchor", "out")}
        self._busy = {stage: [0.0] * cluster.shards for stage in self._free}
        self._useful, self._intervals = 0.0, list[float]()

    def run(self) -> Outcome:
        """Simulates; a tenth of the time goes by before it counts."""
        c, start = self._c, self._end / 10
        for i in range(c.nodes):
            self._at(self._random.uniform(0, c.alone_s), "ask", i)
            self._fail_later(i, 0.0)
        if c.failures:
            self._at(self._random.expovariate(c.failures / 3600), "anchor fails", 0)
        handlers = {"ask": self._ask, "done": self._done, "fails": self._fails, "back": self._back}
        begun = False
        while self._events and self._events[0][0] < self._end:
            now, _, what, i, life, shard = heapq.heappop(self._events)
            if not begun and now >= start:
                begun, self._useful, self._intervals = True, 0.0, []
                self._busy = {stage: [0.0] * c.shards for stage in self._free}
            if what == "anchor fails":
                self._anchor_fails(now)
            elif what == "fails" or life == self._nodes[i].life:
                if what in handlers:
                    handlers[what](now, i)
                else:
                    self._pass(now, what, i, shard)
        counted = self._end - start
        return Outcome(
            statistics.fmean(self._intervals) if self._intervals else float("inf"),
            len(self._intervals) / counted,
            max(self._busy["in"]) / counted,
            max(self._busy["anchor"]) / counted,
            self._useful / counted / c.nodes,
        )

    def _at(self, when: float, what: str, i: int, shard: int = 0) -> None:
        heapq.heappush(self._events, (when, next(self._order), what, i, self._nodes[i].life, shard))

    def _ask(self, now: float, i: int) -> None:
        node, c = self._nodes[i], self._c
        node.asked, node.waiting = now, c.shards
        for shard in range(c.shards):
            self._at(now + c.node_s + shard * c.line_s + c.latency_s, "in", i, shard)

    def _pass(self, now: float, stage: str, i: int, shard: int) -> None:
        """A part of an exchange is at a stage of an anchor, or back at its node's line."""
        c, node = self._c, self._nodes[i]
        if stage == "home":
            node.line = max(now, node.line) + c.line_s
            self._at(node.line, "answered", i, shard)
            return
        if stage == "answered":
            node.waiting -= 1
            if not node.waiting:
                self._done(now, i)
            return
        takes = c.anchor_s if stage == "anchor" else c.line_s
        begins = max(now, self._free[stage][shard])
        self._free[stage][shard] = begins + takes
        self._busy[stage][shard] += takes
        if stage == "out":  # its first byte is there long before its last is sent
            self._at(begins + c.latency_s, "home", i, shard)
        else:
            self._at(begins + takes, {"in": "anchor", "anchor": "out"}[stage], i, shard)

    def _done(self, now: float, i: int) -> None:
        node = self._nodes[i]
        self._intervals.append(node.asked - node.since)
        self._useful += node.asked - node.since
        node.since = node.asked
        self._at(now + self._c.interval_s, "ask", i)

    def _fail_later(self, i: int, now: float) -> None:
        if self._c.failures:
            self._at(now + self._random.expovariate(self._c.failures / 3600), "fails", i)

    def _fails(self, now: float, i: int) -> None:
        node = self._nodes[i]
        node.life, node.up = node.life + 1, False
        self._at(now + MEASURED["back_s"][0], "back", i)

    def _back(self, now: float, i: int) -> None:
        node = self._nodes[i]
        node.up, node.since, node.line = True, now, now
        self._at(now + self._c.interval_s, "ask", i)
        self._fail_later(i, now)

    def _anchor_fails(self, now: float) -> None:
        """All adopt the weights of the head, and lose what they have not sent."""
        back = now + MEASURED["back_s"][0]
        for i, node in enumerate(self._nodes):
            if node.up:
                node.life += 1
                node.since = back
                self._at(back + self._random.uniform(0, self._c.interval_s), "ask", i)
        for stage in self._free.values():
            stage[:] = [back] * self._c.shards
        self._at(now + self._random.expovariate(self._c.failures / 3600), "anchor fails", 0)


SCENES = (
    ("every 1 s, 1 Gbit/s", Cluster(1, gigabits=1.0)),
    ("every 1 s, 10 Gbit/s", Cluster(1)),
    ("every 5 s, 1 Gbit/s", Cluster(1, interval_s=5.0, gigabits=1.0)),
    ("every 5 s, 10 Gbit/s", Cluster(1, interval_s=5.0)),
    ("every 1 s, 10 Gbit/s, 4 shards", Cluster(1, shards=4)),
    ("every 5 s, 10 Gbit/s, 16 shards", Cluster(1, interval_s=5.0, shards=16)),
)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 125, 250, 500, 1000)
FAILURES = 1.0
"""A machine and hour, where failing is looked at: far more than machines do."""


def simulate(cluster: Cluster, seed: int = 0) -> Outcome:
    """Long enough for some 30 exchanges of each node; with failures, for ten hours at least."""
    round_s = max(cluster.alone_s, cluster.nodes * max(cluster.line_s, cluster.anchor_s))
    return Simulation(cluster, max(30 * round_s, 36_000.0 if cluster.failures else 0.0), seed).run()


def measure(counts: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    """Every scene, by name: of each number of nodes the outcome."""
    found = {}
    for name, scene in SCENES:
        found[name] = [{"nodes": n, **asdict(simulate(replace(scene, nodes=n)))} for n in counts]
        print(name, "bends at", round(scene.bend), "nodes", flush=True)
    return found


def draw(found: dict[str, list[dict[str, Any]]]) -> None:
    """Against the number of nodes: how long a node waits for news, and how many the anchor answers."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for (name, scene), rows in zip(SCENES, found.values(), strict=True):
        nodes = [row["nodes"] for row in rows]
        [line] = left.plot(nodes, [row["interval_s"] for row in rows], marker="o", markersize=3, label=name)
        left.axvline(scene.bend, color=line.get_color(), linewidth=0.6, linestyle=":")
        right.plot(nodes, [row["exchanges_per_s"] for row in rows], color=line.get_color())
    left.set(xscale="log", yscale="log", xlabel="nodes", ylabel="seconds between two exchanges of a node")
    left.set_title("How old a node's news is (dotted: where it bends)")
    left.legend(fontsize=8)
    right.set(xscale="log", yscale="log", xlabel="nodes", ylabel="exchanges a second, of all nodes")
    right.set_title("What the anchor takes")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.suptitle(f"Model: {A3C_LSTM:,} weights (A3Clstm), bfloat16 each way", fontsize=11)
    figure.savefig(PLOT, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, help="one cluster instead of all scenes")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds")
    parser.add_argument("--weights", type=int, default=A3C_LSTM)
    parser.add_argument("--gigabits", type=float, default=10.0, help="a second")
    parser.add_argument("--latency", type=float, default=1e-4, help="seconds, one way")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--failures", type=float, default=0.0, help="a machine and hour")
    o = parser.parse_args()
    if o.nodes:
        one = Cluster(o.nodes, o.interval, o.weights, o.gigabits, o.latency, o.shards, o.failures)
        rows = [*asdict(simulate(one)).items(), ("bends at nodes", one.bend)]
        print(table([["what", "found"], *rows]))
        return
    found = measure(COUNTS)
    failing = [
        {"nodes": n, **asdict(simulate(Cluster(n, interval_s=5.0, failures=FAILURES)))} for n in COUNTS[:7]
    ]
    draw(found)
    print(
        table(
            [
                ["nodes", *found],
                *([n, *(r[i]["interval_s"] for r in found.values())] for i, n in enumerate(COUNTS)),
            ]
        )
    )
    print(
        table(
            [
                ["nodes", "useful when each fails once an hour"],
                *([row["nodes"], f"{row['useful']:.4f}"] for row in failing),
            ]
        )
    )
    bends = {name: round(scene.bend, 1) for name, scene in SCENES}
    result = {
        "measured": MEASURED,
        "weights": A3C_LSTM,
        "bends_at_nodes": bends,
        "found": found,
        "failing_once_an_hour_every_5_s": failing,
    }
    print(f"kept in {keep('cluster-model', result)} and {PLOT}")


if __name__ == "__main__":
    main()
