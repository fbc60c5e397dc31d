"""The anchor as a Ray actor: the one place that all nodes of a run talk to."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from a3c.cluster.connection import end_this_actor, take_usual_priority
from a3c.cluster.exchange import Anchor, Filling, Reply, Request

_LOOK_S = 5.0


class Facts(NamedTuple):
    """What a node tells besides."""

    node: str
    steps: int  # of its own
    leads: bool  # it is the head
    stopping: bool  # the head ends the run


class Told(NamedTuple):
    """What every node is told besides."""

    stop: bool
    head_silent_s: float
    others: dict[str, int]  # the steps of each node that is heard of, but the head's


class AnchorActor:
    """Serves one call at a time.

    Args:
        rule, patience_s: of `Anchor`.
        alone_s: it ends itself after as long without the head.
    """

    def __init__(self, rule: str, patience_s: float, alone_s: float) -> None:
        take_usual_priority()
        self._anchor, self._alone_s = Anchor(rule, patience_s), alone_s
        self._facts: dict[str, Facts] = {}
        self._head_heard, self._stopping = time.monotonic(), False
        threading.Thread(target=self._watch, daemon=True).start()

    def fill(self, filling: Filling, facts: Facts) -> tuple[Reply, Told]:
        return self._anchor.fill(filling, time.monotonic()), self._tell(facts)

    def exchange(self, request: Request, facts: Facts) -> tuple[Reply, Told]:
        return self._anchor.exchange(request, time.monotonic()), self._tell(facts)

    def leave(self, node: str) -> None:
        self._anchor.leave(node)

    def _tell(self, facts: Facts) -> Told:
        now = time.monotonic()
        self._facts[facts.node] = facts
        if facts.leads:
            self._head_heard, self._stopping = now, facts.stopping
        known = [self._facts[name] for name in self._anchor.silences(now) if name in self._facts]
        others = {other.node: other.steps for other in known if not other.leads}
        return Told(self._stopping, now - self._head_heard, others)

    def _watch(self) -> None:
        while time.monotonic() - self._head_heard < self._alone_s:
            time.sleep(_LOOK_S)
        end_this_actor()


def anchor_args(config: Any) -> tuple[str, float, float]:
    """Of the actor, by the run's settings."""
    c = config.cluster
    return c.cluster_rule, 5 * c.exchange_every + 2.0, c.head_patience + 5 * c.exchange_every + 10.0
