"""On the head: finds the other nodes, has Ray's actor start on each, and knows how they are."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import ray

from a3c import __version__
from a3c.cluster.anchor import Told
from a3c.cluster.connection import TROUBLES, lasting_actor
from a3c.cluster.keeper import NodeActor
from a3c.cluster.orders import settings_for_nodes
from a3c.cluster.part import Part
from a3c.training.session import Session

_LOOK_S = 2.0  # between two looks at who is there
_POLL_S = 0.1
_RATE_S = 10.0  # that a node's speed is taken over


@dataclass
class Recruit:
    """What the head knows of another node."""

    number: int
    host: str
    actor: Any = None
    asked: Any = None  # the answer to come
    answer: tuple[str, int, str] = ("starting", 0, "")  # of the actor: see `NodeActor.state`
    starts: dict[str, int] = field(default_factory=dict)  # the steps that each of the node's starts made
    points: deque[tuple[float, int]] = field(default_factory=deque)  # (seconds, steps)

    def hear(self) -> None:
        """Takes the actor's answer to the last question, and asks again; waits for nobody. A dead actor is
        forgotten; it may be on its way back all the same."""
        if self.asked is not None:
            if not ray.wait([self.asked], timeout=0)[0]:
                return
            try:
                self.answer = ray.get(self.asked)
            except TROUBLES:
                self.actor = self.asked = None
                return
        self.asked = self.actor.state.remote()

    def status(self, heard: dict[str, int]) -> dict[str, Any]:
        """For `a3c status`; `heard` are the steps of its starts that the anchor knows of."""
        state, restarts, words = self.answer
        self.starts |= heard
        now, steps = time.monotonic(), sum(self.starts.values())
        self.points.append((now, steps))
        while now - self.points[0][0] > _RATE_S:
            self.points.popleft()
        began, before = self.points[0]
        if state == "running" and not heard:
            state = "silent" if steps else "starting"
        return {
            "id": self.number,
            "host": self.host,
            "state": state,
            "restarts": restarts,
            "message": words if state in ("backoff", "failed") else "",
            "steps": steps,
            "steps_per_second": (steps - before) / (now - began) if now > began else 0.0,
        }


class Recruiter:
    """On the head: has an actor on every other node, also on those that come later."""

    def __init__(self, session: Session, part: Part) -> None:
        self._session, self._part = session, part
        self._own_id = ray.get_runtime_context().get_node_id()
        self._dismiss_strangers()
        self._nodes: dict[str, Recruit] = {}
        self._numbers, self._due = count(1), 0.0

    def look(self) -> None:
        """Now and then: who is there, and how are they? Raises one of TROUBLES."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_S
        alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        self._nodes = {node_id: node for node_id, node in self._nodes.items() if node_id in alive}
        for node_id in sorted(alive.keys() - self._nodes.keys() - {self._own_id}):
            self._nodes[node_id] = Recruit(next(self._numbers), alive[node_id])
        for node_id, node in self._nodes.items():
            if node.actor is None:
                name, order = f"{self._part.run}{node_id[:16]}", self._order(node_id, node.number)
                node.actor = lasting_actor(NodeActor, name, node_id, True, order)
            node.hear()

    def nodes(self, told: Told) -> list[dict[str, Any]]:
        """What the status says of each."""
        found = []
        for node_id, node in self._nodes.items():
            own = (name for name in told.others if name.startswith(node_id[:16]))
            found.append(node.status({name: told.others[name] for name in own}))
        return found

    def dismiss(self, patience_s: float) -> None:
        """The others end by themselves; what is left then is ended, and the anchor at last."""
        deadline, anchor = time.monotonic() + patience_s, f"{self._part.run}anchor"
        actors = _named(self._part.run)
        for name in sorted(actors, key=lambda name: name == anchor):
            with suppress(*TROUBLES):
                actor = ray.get_actor(name)
                while name != anchor and (left_s := deadline - time.monotonic()) > 0:
                    if ray.get(actor.state.remote(), timeout=left_s)[0] not in ("running", "done"):
                        break
                    time.sleep(_POLL_S)
            _kill(name)

    def _dismiss_strangers(self) -> None:
        """Actors that an earlier start of the run has left, with other settings."""
        for name in _named(f"a3c-{self._session.run_id}-"):
            if not name.startswith(self._part.run):
                _kill(name)

    def _order(self, node_id: str, seat: int) -> dict[str, Any]:
        s = self._session
        return {
            "version": __version__,
            "address": self._part.address,
            "run": self._part.run,
            "settings": settings_for_nodes(s.config),
            "run_id": s.run_id,
            "resumes": s.resumes,
            "node": node_id[:16],
            "seat": seat,
            "patience_s": s.config.cluster.head_patience,
            "folder": os.getcwd(),
        }


def _named(prefix: str) -> list[str]:
    """Actors, also those that Ray is just starting anew."""
    return [name for name in ray.util.list_named_actors() if name.startswith(prefix)]


def _kill(name: str) -> None:
    """For good."""
    with suppress(*TROUBLES):
        ray.kill(ray.get_actor(name), no_restart=True)
