"""What nodes and the anchor tell each other, and the anchor itself.

The anchor holds the cluster's weights W and answers one node at a time. A node sends what it learned since
its last exchange, d, in bfloat16; the anchor moves W by its rule and sends back, in bfloat16 too, by how much
the node has to move in turn. For each node the anchor keeps an image of W as that node knows it, and both
move it by the same additions, so that the two images stay equal bit for bit. What rounding leaves out
is still in the difference at the next exchange: it comes late, never not at all, and no weight is ever
rounded to bfloat16, only differences are. 2 bytes a weight each way, against 4 for whole weights, which
travel when a node joins or a reply was lost; the price is 4 bytes a weight and node of the anchor's memory.

An exchange is known by its generation and a number that the anchor gives; both are in the request for the
next. So a request that comes twice, its reply lost, counts once, and one that is based on other weights than
the anchor thinks (a node that was forgotten, replaced or rolled back) is answered with the weights
to adopt. Adopting begins anew, with the counters too: what a node had learned in between is neither in the
weights nor in the totals, as with a run that resumes from a checkpoint. Hence totals never count twice.

Everything here is numbers and numpy arrays: nothing that is received decides what code runs.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from a3c.cluster.rules import RULES, Rule, Weights

Bits = npt.NDArray[np.uint16]
"""bfloat16: the upper half of a float32."""

LARGEST = 1e18
"""Beyond it a weight, or a change of one, is as good as infinite: no sum of these overflows."""

APPLIED, COUNTED_BEFORE, ADOPT, EMPTY, REFUSED = "applied", "counted before", "adopt", "empty", "refused"
"""Kinds of reply: with a change; with whole weights to move to; with whole weights to begin anew from; the
anchor has no weights and wants the head's; it wants nothing of this node."""

NEVER = -1
"""The number of an exchange that has none before it."""

BLOCK = 2**15
"""Weights that are dealt with at a time: what is done to them one after the other is then done in the
processor's cache. An exchange of 3.3 million takes 45 % less time so."""


class Request(NamedTuple):
    """What a node tells the anchor."""

    node: str
    incarnation: int  # of the node's training; the greater one is the newer
    size: int  # N
    generation: int  # of the last reply that was applied
    number: int  # of that reply
    learned: Bits | None  # [N]; None: the node knows of no weights it could have learned from
    counters: dict[str, float]  # sums since the node began with this generation's weights


class Filling(NamedTuple):
    """The weights that the head gives to all."""

    node: str
    incarnation: int
    generation: int  # the newest that the head knows of
    weights: Weights  # [N]
    totals: dict[str, float]  # of the whole cluster, to be counted on from


class Reply(NamedTuple):
    """What the anchor answers."""

    kind: str
    generation: int
    number: int  # of this reply, and of no other of this generation
    totals: dict[str, float]  # of all nodes, with what this one has just reported
    nodes: int  # live
    change: Bits | None = None  # [N] by which the node moves
    weights: Weights | None = None  # [N]
    reason: str = ""


@dataclass
class Node:
    """What the anchor knows of a live node."""

    incarnation: int
    image: Weights  # [N] W as the node knows it
    number: int  # of the last reply
    before: int  # of the one before: a request that names it was answered already
    heard: float  # seconds
    counters: dict[str, float]


class Anchor:
    """The cluster's weights and counters; see the module.

    Args:
        rule: how what nodes learned is combined, a name of `RULES`.
        patience: seconds after which a silent node is forgotten.
    """

    def __init__(self, rule: str, patience: float) -> None:
        self._rule_name, self._patience = rule, patience
        self.weights: Weights | None = None
        self._blocks: list[tuple[slice, Rule]] = []  # each with a rule of its own, which may remember
        self.generation = 0
        self.nodes: dict[str, Node] = {}
        self._past: dict[str, float] = {}
        self._incarnations: dict[str, int] = {}
        self._number = secrets.randbits(40)  # an anchor started anew repeats no number of its predecessor's

    def fill(self, filling: Filling, now: float) -> Reply:
        """Takes the head's weights for all, as a new generation that every node adopts.

        Returns:
            applied, or refused: not finite.
        """
        if not usable(filling.weights):
            return self._refuse(REFUSED, "the head's weights are not finite")
        self.generation = max(self.generation, filling.generation) + 1
        self.weights = np.array(filling.weights, np.float32)
        begins = range(0, self.weights.size, BLOCK)
        self._blocks = [(slice(begin, begin + BLOCK), RULES[self._rule_name]()) for begin in begins]
        self._past = dict(filling.totals)
        self.nodes = {}
        self._incarnations[filling.node] = filling.incarnation
        node = self._know(filling.node, filling.incarnation, now)
        return self._reply(APPLIED, node)

    def exchange(self, request: Request, now: float) -> Reply:
        """Takes what a node learned, and tells what the others did; see `Reply`."""
        if self.weights is None:
            return self._refuse(EMPTY, "the anchor has no weights yet")
        if reason := self._why_not(request):
            return self._refuse(REFUSED, reason)
        if node := self.nodes.get(request.node):
            node.heard = now
        self.forget_silent(now)
        learned = request.learned
        if node is None or learned is None or node.incarnation != request.incarnation:
            return self._adopt(request, now, "it joins")
        if request.generation != self.generation or request.number not in (node.number, node.before):
            return self._adopt(request, now, "it learned from other weights")
        if not all(usable(expand(learned[where])) for where, _ in self._blocks):
            return self._adopt(request, now, "its weights are not finite")
        node.counters = dict(request.counters)
        if request.number == node.before:
            node.image = self.weights.copy()
            return self._reply(COUNTED_BEFORE, node, weights=self.weights.copy())
        return self._reply(APPLIED, node, self._move(self.weights, node.image, learned))

    def leave(self, node: str) -> None:
        """A node ends; its counters stay in the totals."""
        if known := self.nodes.pop(node, None):
            self._past = added(self._past, known.counters)

    def forget_silent(self, now: float) -> None:
        """Lets go of nodes not heard for longer than the patience."""
        for name in [name for name, node in self.nodes.items() if now - node.heard > self._patience]:
            self.leave(name)

    def silences(self, now: float) -> dict[str, float]:
        """Of each live node, for how many seconds it has not been heard."""
        return {name: now - node.heard for name, node in self.nodes.items()}

    def totals(self) -> dict[str, float]:
        """Every sum, over all nodes that are and were."""
        totals = self._past
        for node in self.nodes.values():
            totals = added(totals, node.counters)
        return dict(totals)

    def _move(self, weights: Weights, image: Weights, learned: Bits) -> Bits:
        """Moves the weights by the rule, and the node's image of them to where they are, but for rounding;
        returns by how much the node has to move."""
        change = np.empty_like(learned)
        for where, rule in self._blocks:
            w, known, d = weights[where], image[where], expand(learned[where])
            known += d
            w += rule.move(d, len(self.nodes))
            change[where] = pack(w - known)
            known += expand(change[where])
        return change

    def _why_not(self, request: Request) -> str:
        """Why this node is to stay away; "" when it is not."""
        size = 0 if self.weights is None else self.weights.size
        if request.size != size or (request.learned is not None and request.learned.shape != (size,)):
            return f"its network has {request.size:,} weights, the cluster's {size:,}"
        if request.incarnation < self._incarnations.get(request.node, request.incarnation):
            return "another process has taken this node's place"
        if not all(map(math.isfinite, request.counters.values())):
            return "its counters are not finite"
        return ""

    def _adopt(self, request: Request, now: float, reason: str) -> Reply:
        self.leave(request.node)
        node = self._know(request.node, request.incarnation, now)
        weights = None if self.weights is None else self.weights.copy()
        return self._reply(ADOPT, node, weights=weights, reason=reason)

    def _know(self, name: str, incarnation: int, now: float) -> Node:
        """A node that begins with the present weights."""
        image = np.array(self.weights, np.float32)
        self.nodes[name] = node = Node(incarnation, image, NEVER, NEVER, now, {})
        self._incarnations[name] = incarnation
        return node

    def _reply(
        self,
        kind: str,
        node: Node,
        change: Bits | None = None,
        weights: Weights | None = None,
        reason: str = "",
    ) -> Reply:
        """Under a number that no reply of this generation had."""
        self._number += 1
        if kind != COUNTED_BEFORE:  # to a request that may come a third time
            node.before = node.number
        node.number = self._number
        return Reply(
            kind, self.generation, self._number, self.totals(), len(self.nodes), change, weights, reason
        )

    def _refuse(self, kind: str, reason: str) -> Reply:
        return Reply(kind, self.generation, NEVER, {}, len(self.nodes), reason=reason)


def usable(values: Weights) -> bool:
    """Whether all are finite, and small enough to stay so."""
    return not values.size or bool(values.min() > -LARGEST and values.max() < LARGEST)  # NaN passes through


def pack(values: Weights) -> Bits:
    """float32 [N] rounded to the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    rounded = bits >> 16
    rounded &= 1
    rounded += 0x7FFF
    rounded += bits
    rounded >>= 16
    packed = rounded.astype(np.uint16)
    packed[np.isnan(values)] = 0x7FC0
    return packed


def expand(bits: Bits) -> Weights:
    """bfloat16 [N] as float32, exactly."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def added(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    """Sums by name."""
    return {name: one.get(name, 0.0) + other.get(name, 0.0) for name in {**one, **other}}
