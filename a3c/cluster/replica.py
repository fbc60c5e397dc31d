"""A node's side of the exchange: in place on the weights that its workers are pushing to.

With w the node's weights and b, the base, the cluster's weights as the node last knew them, w - b is what
the node has learned and not yet reported. It is rounded to bfloat16 and sent; the reply moves w and b alike
by the change it tells, and b besides by what was sent, so that w - b is then what was learned meanwhile and
what rounding left out.

Workers go on pushing at every moment: w is only read once and added to, as by one more worker (Hogwild).

The state lies in shared memory, which outlives the process that exchanges. Killed before it sends, the next
process computes what was learned anew; killed before the reply has come, it sends the same again, which the
anchor counts once; killed while w and b are being moved, some elements have moved and some not, and it
adopts the cluster's weights: what is lost is the learning of one interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from a3c.cluster.exchange import (
    ADOPT,
    APPLIED,
    BLOCK,
    COUNTED_BEFORE,
    NEVER,
    Bits,
    Filling,
    Reply,
    Request,
    usable,
)

_APART, _LEADING, _AT_REST, _SENT = range(4)
"""Phases: w is no heir of the base, it has to adopt; w is to become everybody's weights; w - base is what was
learned; so it is, and part of it was sent."""

_PHASE, _GENERATION, _NUMBER = range(3)


@dataclass
class ReplicaMemory:
    """What must outlive the exchanging process; written by that process alone, but for `lead` and `part`."""

    base: torch.Tensor  # [N] float32
    sent: torch.Tensor  # [N] bfloat16
    cells: torch.Tensor  # [3] int64: phase, generation, number of the last reply
    start: torch.Tensor  # [counters] float64: the node's sums when it adopted the cluster's weights
    names: tuple[str, ...]  # of these counters

    @classmethod
    def allocate(cls, size: int, names: tuple[str, ...]) -> ReplicaMemory:
        """Of a node that has still to join, in private memory."""
        return cls(
            torch.zeros(size),
            torch.zeros(size, dtype=torch.bfloat16),
            torch.tensor([_APART, 0, NEVER]),
            torch.zeros(len(names), dtype=torch.float64),
            names,
        )

    def share(self) -> ReplicaMemory:
        """Moves it into shared memory. Raises RuntimeError when that is full."""
        for tensor in (self.base, self.sent, self.cells, self.start):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
        return self

    def lead(self) -> None:
        """The node's weights shall become everybody's: on the head, when a run starts or resumes, and
        whenever its weights were replaced. Only while nobody exchanges."""
        self.cells[_PHASE] = _LEADING

    def part(self) -> None:
        """The node's weights were replaced by others than it learned from: it shall adopt the cluster's. Only
        while nobody exchanges."""
        self.cells[_PHASE] = _APART


class Replica:
    """The exchanging process's handle on a node's weights.

    Args:
        weights: [N] float32, the node's own, shared with its workers.
        memory: of the same size.
        node, incarnation: who asks; see `Request`.
    """

    def __init__(self, weights: torch.Tensor, memory: ReplicaMemory, node: str, incarnation: int) -> None:
        if weights.shape != memory.base.shape:
            raise ValueError(f"{weights.numel()} weights, and room for {memory.base.numel()}")
        self._node, self._incarnation = node, incarnation
        self._names = memory.names
        self._weights, self._base, self._sent = weights, memory.base, memory.sent
        parts = (weights, memory.base, memory.sent)
        self._blocks = list(zip(*(torch.split(part, BLOCK) for part in parts), strict=True))
        self._cells, self._start = memory.cells.numpy(), memory.start.numpy()
        self._counted: list[float] = []  # what the last request told of

    @property
    def leads(self) -> bool:
        """Whether the weights are to become everybody's: `fill` is due, not `request`."""
        return bool(self._cells[_PHASE] == _LEADING)

    @property
    def generation(self) -> int:
        return int(self._cells[_GENERATION])

    def request(self, counters: dict[str, float]) -> Request:
        """What to tell the anchor: what was learned, or the same again when no reply to it was applied.

        Args:
            counters: the node's sums, over everything it ever did, by the memory's names.
        """
        self._counted = [counters[name] for name in self._names]
        if self._cells[_PHASE] == _AT_REST:
            self._cells[_PHASE] = _SENT if self._look() else _APART
        sent = bits_of(self._sent) if self._cells[_PHASE] == _SENT else None
        since = dict(zip(self._names, (self._counted - self._start).tolist(), strict=True))
        size, number = self._base.numel(), int(self._cells[_NUMBER])
        return Request(self._node, self._incarnation, size, self.generation, number, sent, since)

    def fill(self, counters: dict[str, float], totals: dict[str, float]) -> Filling:
        """What to give to an anchor that is empty or has older weights; on the head only.

        Args:
            counters: the node's sums, as for `request`.
            totals: the whole cluster's.
        """
        self._cells[_PHASE] = _LEADING
        self._counted = [counters[name] for name in self._names]
        self._base.copy_(self._weights)
        weights = self._base.numpy().copy()
        return Filling(self._node, self._incarnation, self.generation, weights, dict(totals))

    def apply(self, reply: Reply) -> dict[str, float]:
        """Moves the node's weights as the reply to the last request or filling tells.

        Returns:
            The other nodes' counters, such that with the node's own they are the cluster's totals; empty
            when the reply told none.

        Raises:
            ValueError: the cluster's network is of another size.
        """
        if reply.kind not in (APPLIED, COUNTED_BEFORE, ADOPT):
            return {}
        for told in (reply.change, reply.weights):
            if told is not None and told.shape != tuple(self._base.shape):
                raise ValueError(f"the cluster's network has {told.size} weights, not {self._base.numel()}")
        filled = self.leads and reply.kind == APPLIED
        self._cells[_PHASE] = _LEADING if filled else _APART  # until all have moved
        if filled or reply.kind == ADOPT:
            self._start[:] = self._counted
        if reply.kind == ADOPT and reply.weights is not None:
            self._weights.copy_(torch.tensor(reply.weights))
            self._base.copy_(torch.tensor(reply.weights))
        elif reply.kind == COUNTED_BEFORE and reply.weights is not None:
            whole = torch.tensor(reply.weights)
            self._weights += whole - self._base - self._sent.float()
            self._base.copy_(whole)
        elif reply.change is not None:
            self._move(torch.tensor(reply.change.view(np.int16)).view(torch.bfloat16))
        self._cells[_GENERATION], self._cells[_NUMBER] = reply.generation, reply.number
        self._cells[_PHASE] = _AT_REST
        own = dict(zip(self._names, self._counted, strict=True))
        return {name: reply.totals.get(name, 0.0) - own[name] for name in self._names}

    def _look(self) -> bool:
        """Notes what was learned, to be sent; returns whether it can be."""
        sound = True
        for weights, base, sent in self._blocks:
            learned = weights - base
            sound &= usable(learned.numpy())
            sent.copy_(learned)  # rounds to the nearest, ties to even, as `pack` does
        return sound

    def _move(self, change: torch.Tensor) -> None:
        """By [N] bfloat16, and the base besides by what was sent."""
        for (weights, base, sent), part in zip(self._blocks, torch.split(change, BLOCK), strict=True):
            wide = part.float()
            weights += wide
            base += sent.float()
            base += wide


def bits_of(values: torch.Tensor) -> Bits:
    """Of [N] bfloat16, a copy."""
    return values.view(torch.int16).numpy().view(np.uint16).copy()
