"""How the anchor moves the cluster's weights when one node's learning arrives.

Nodes exchange each in its own time, so the rules are asynchronous: they see one difference after the other,
never all nodes' at once. Over a round, in which each of n nodes arrives once, W moves

    mean      by the mean of what the nodes learned: n nodes make one better estimate of the same step
    sum       by all that they learned: n nodes make n times the steps, as n times the workers would
    nesterov  as under DiLoCo's outer optimizer

A difference may be based on weights that others have moved since; it is added nonetheless, as in
asynchronous local SGD. Elastic averaging (EASGD, Zhang et al. 2015) is not among them: it pulls nodes and
center together by a fraction, so that a node's learning is never wholly in the weights that are scored.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Weights = npt.NDArray[np.float32]


class Rule(Protocol):
    """Combines what nodes learned."""

    def move(self, learned: Weights, live: int) -> Weights:
        """By how much W moves, [N], when one of `live` nodes reports what it `learned` [N] since it last did;
        may use that array."""
        ...


class Mean:
    """W moves by d / n: over a round by the mean (local SGD with averaging, as it arrives)."""

    def move(self, learned: Weights, live: int) -> Weights:
        learned /= live
        return learned


class Sum:
    """W moves by d: nothing of what a node learned is scaled down."""

    def move(self, learned: Weights, live: int) -> Weights:
        return learned


class Nesterov:
    """DiLoCo's outer optimizer (Douillard et al. 2023, sec. 2) with momentum delayed to whole rounds.

    Momentum remembers past rounds. Applied at each arrival it would decay, and push, n times a round, each
    time with the direction of the single node that happened to come (Liu et al. 2024 measured how badly that
    trains). As in their Delayed Nesterov (with c = 0), an arrival moves W by rate * d / n at once, and the
    velocity is renewed and applied when as many have arrived as there are nodes. When each came once, W has
    moved exactly as in one synchronous step of DiLoCo: by rate * (mean + momentum * velocity).

    Args:
        rate, momentum: of the outer optimizer; the defaults are DiLoCo's.
    """

    def __init__(self, rate: float = 0.7, momentum: float = 0.9) -> None:
        self.rate, self.momentum = rate, momentum
        self._velocity: Weights | None = None
        self._round: Weights | None = None  # the mean so far
        self._arrived = 0

    def move(self, learned: Weights, live: int) -> Weights:
        if self._velocity is None or self._round is None:
            self._velocity, self._round = np.zeros_like(learned), np.zeros_like(learned)
        learned /= live
        self._round += learned
        self._arrived += 1
        learned *= self.rate
        if self._arrived >= live:
            self._velocity *= self.momentum
            self._velocity += self._round
            learned += self._velocity * (self.rate * self.momentum)
            self._round[:] = 0
            self._arrived = 0
        return learned


RULES: dict[str, type[Mean] | type[Sum] | type[Nesterov]] = {"mean": Mean, "sum": Sum, "nesterov": Nesterov}
"""By name."""
