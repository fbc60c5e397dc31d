"""On the head: finds the other nodes, has Ray's actor start on each, and knows how they are."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
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


class Recruiter:
    """On the head: has an actor on every other node, also on those that come later."""

    def __init__(self, session: Session, part: Part) -> None:
        self._session, self._part = session, part
        self._own_id = ray.get_runtime_context().get_node_id()
        self._dismiss_strangers()
        self._actors: dict[str, Any] = {}
        self._asked: dict[str, Any] = {}
        self._states: dict[str, tuple[str, int, str]] = {}
        self._starts: dict[str, dict[str, int]] = {}  # of each node: the steps that each of its starts made
        self._steps: dict[str, deque[tuple[float, int]]] = {}
        self._hosts: dict[str, str] = {}
        self._due = 0.0

    def look(self) -> None:
        """Now and then: who is there, and how are they? Raises one of TROUBLES."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _LOOK_S
        alive = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
        self._hosts = {node_id: host for node_id, host in alive.items() if node_id != self._own_id}
        for gone in self._actors.keys() - self._hosts.keys():
            for known in (self._actors, self._asked, self._states):
                known.pop(gone, None)
        for node_id in sorted(self._hosts.keys() - self._actors.keys()):
            order = self._order(node_id, len(self._actors) + 1)
            name = f"{self._part.run}{node_id[:16]}"
            self._actors[node_id] = lasting_actor(NodeActor, name, node_id, True, order)
        for node_id, actor in self._actors.items():
            self._hear(node_id, actor)

    def nodes(self, told: Told) -> list[dict[str, Any]]:
        """What the status says of each."""
        return [self._node(i, node_id, told) for i, node_id in enumerate(self._actors, 1)]

    def dismiss(self, deadline: float) -> None:
        """They end by themselves; at the deadline (of `time.monotonic`) what is left is ended."""
        for actor in self._actors.values():
            with suppress(*TROUBLES):
                while time.monotonic() < deadline:
                    ray.get(actor.state.remote(), timeout=_LOOK_S)
                    time.sleep(_POLL_S)
                ray.kill(actor, no_restart=True)

    def _dismiss_strangers(self) -> None:
        """Actors that an earlier start of the run has left, with other settings."""
        for name in ray.util.list_named_actors():
            if name.startswith(f"a3c-{self._session.run_id}-") and not name.startswith(self._part.run):
                with suppress(*TROUBLES):
                    ray.kill(ray.get_actor(name), no_restart=True)

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

    def _hear(self, node_id: str, actor: Any) -> None:
        """Takes the actor's answer to the last question, and asks again; waits for nobody."""
        asked = self._asked.get(node_id)
        if asked is not None:
            if not ray.wait([asked], timeout=0)[0]:
                return
            with suppress(*TROUBLES):  # it is being restarted
                self._states[node_id] = ray.get(asked)
        self._asked[node_id] = actor.state.remote()

    def _node(self, number: int, node_id: str, told: Told) -> dict[str, Any]:
        state, restarts, words = self._states.get(node_id, ("starting", 0, ""))
        now = time.monotonic()
        heard = {name: steps for name, (_, steps, _) in told.others.items() if name.startswith(node_id[:16])}
        starts = self._starts.setdefault(node_id, {})
        starts |= heard
        steps = sum(starts.values())
        points = self._steps.setdefault(node_id, deque())
        points.append((now, steps))
        while now - points[0][0] > _RATE_S:
            points.popleft()
        seconds = now - points[0][0]
        if state == "running" and not heard:
            state = "silent" if steps else "starting"
        return {
            "id": number,
            "host": self._hosts.get(node_id, ""),
            "state": state,
            "restarts": restarts,
            "message": words if state in ("backoff", "failed") else "",
            "steps": steps,
            "steps_per_second": max(0.0, (steps - points[0][1]) / seconds) if seconds > 0 else 0.0,
        }
