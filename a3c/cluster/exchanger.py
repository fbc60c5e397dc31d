"""The exchanger: the process of a node that talks to Ray. On the head it recruits the other nodes as well.

Ray may end it at any time, and does so when the cluster is lost for a minute: then training goes on, and its
next start tries again.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

import ray

from a3c.cluster.address import check_address
from a3c.cluster.anchor import AnchorActor, Facts, Told, anchor_args
from a3c.cluster.connection import TROUBLES, connect, lasting_actor
from a3c.cluster.exchange import EMPTY, REFUSED, Reply
from a3c.cluster.part import Part
from a3c.cluster.recruiting import Recruiter
from a3c.cluster.replica import Replica
from a3c.errors import UsageError
from a3c.processes.child import Link
from a3c.stores.scoreboard import STOP_EXCHANGE, WAITING
from a3c.training.session import Session
from a3c.training.worker import keep_alive

_CALL_S = 30.0  # how long the anchor may take for one call
_RETRY_S, _LONGEST_RETRY_S = 1.0, 30.0
_POLL_S = 0.05
_HURRY_S = 0.2  # between two exchanges when the run is about to end
_LAST_S = 0.4  # of the grace, of which it has half: when the head has waited enough for the others to end


class Refused(Exception):
    """The anchor wants nothing of this node; says why."""


def run_exchanger(session: Session, part: Part, link: Link) -> None:
    """The entry point of the process."""
    board = session.board
    threading.Thread(target=keep_alive, args=(board, board.others_row), daemon=True).start()
    exchanger = Exchanger(session, part, link)
    if part.leads:
        link.ready()  # a run goes on without its cluster
    exchanger.run()


class Exchanger:
    """See the module."""

    def __init__(self, session: Session, part: Part, link: Link) -> None:
        self._session, self._part, self._link, self._board = session, part, link, session.board
        self._row = session.board.others_row
        self._replica = Replica(session.memory.weights, part.memory, part.node, part.incarnation)
        self._every_s = session.config.cluster.exchange_every
        self._anchor: Any = None
        self._recruiter: Recruiter | None = None
        self._told: Told | None = None
        self._joined, self._trouble = False, ""

    def run(self) -> None:
        """Exchanges until the run ends."""
        pause_s = _RETRY_S
        while True:
            try:
                self._connect()
                pause_s = _RETRY_S
                while self._board.stop != STOP_EXCHANGE:
                    self._exchange()
                    self._rest(self._every_s)
                self._finish()
                return
            except (*TROUBLES, Refused) as error:
                self._report(f"{type(error).__name__}: {error}".splitlines()[0])
            self._anchor = None
            with suppress(*TROUBLES):
                ray.shutdown()
            if self._board.stop == STOP_EXCHANGE and not (self._part.leads and self._left_s()):
                return  # only the head has to end what it started
            time.sleep(_POLL_S)
            self._rest(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_RETRY_S)

    def _connect(self) -> None:
        self._board.beat(self._row, WAITING)
        try:
            check_address(self._part.address)
        except UsageError as error:
            raise ConnectionError(str(error)) from error
        connect(self._part.address)
        self._find_anchor()
        if self._part.leads:
            self._recruiter = Recruiter(self._session, self._part)

    def _find_anchor(self) -> None:
        """On the head it is made where it is missing."""
        name = f"{self._part.run}anchor"
        if self._part.leads:
            node_id = ray.get_runtime_context().get_node_id()
            args = anchor_args(self._session.config)
            self._anchor = lasting_actor(AnchorActor, name, node_id, False, *args)
        else:
            self._anchor = ray.get_actor(name)

    def _exchange(self) -> None:
        """Once; fills an anchor that is empty."""
        if self._recruiter and not self._board.stop:
            self._recruiter.look()
        own = self._board.own()
        if self._replica.leads:
            self._fill(own)
        else:
            reply = self._ask(self._anchor.exchange, self._replica.request(own))
            if reply.kind == EMPTY and self._part.leads:
                self._fill(own)
            else:
                self._take(reply)
        self._report("")

    def _fill(self, own: dict[str, float]) -> None:
        self._take(self._ask(self._anchor.fill, self._replica.fill(own, self._board.totals())))

    def _ask(self, method: Any, message: Any) -> Reply:
        """One call of the anchor. Raises one of TROUBLES."""
        self._board.beat(self._row, WAITING)
        facts = Facts(
            self._part.node, int(self._board.own()["env_steps"]), self._part.leads,
            self._part.leads and self._board.stop != 0,
        )  # fmt: skip
        reply: Reply
        reply, self._told = ray.get(method.remote(message, facts), timeout=min(_CALL_S, self._left_s()))
        return reply

    def _take(self, reply: Reply) -> None:
        if reply.kind == REFUSED:
            raise Refused(reply.reason)
        others = self._replica.apply(reply)
        if others and others["env_steps"] >= self._board.get(self._row, "env_steps"):  # never back
            self._board.put(self._row, others)
        if others and not self._joined:
            self._joined = True
            if not self._part.leads:
                self._link.ready()

    def _report(self, trouble: str) -> None:
        """To the supervisor, how the cluster is."""
        if trouble and not self._trouble:
            self._link.warning(f"the cluster is lost: {trouble}; training goes on, and it is tried again")
        elif self._trouble and not trouble:
            self._link.warning("the cluster is back")
        self._trouble, told = trouble, self._told
        if self._part.leads:
            nodes = self._recruiter.nodes(told) if self._recruiter and told and not trouble else []
            generation = self._replica.generation
            self._link.event("cluster", {"trouble": trouble, "nodes": nodes, "generation": generation})
        elif told and not trouble:
            self._link.event("head", {"stop": told.stop, "silent_s": told.head_silent_s})

    def _rest(self, pause_s: float) -> None:
        """Waits; much shorter once the run is about to end."""
        until = time.monotonic() + pause_s
        while (now := time.monotonic()) < until and self._board.stop != STOP_EXCHANGE:
            if self._board.stop:
                until = min(until, now + _HURRY_S)
            self._board.beat(self._row, "paused")
            time.sleep(_POLL_S)

    def _left_s(self) -> float:
        """How long the rest may take, once the run is about to end; infinite before."""
        return max(_LAST_S * self._session.config.run.grace - self._board.stopping_s, 0.0)

    def _finish(self) -> None:
        """The last exchange: on the head that of all others is waited for, and what it started is ended, also
        when the anchor is gone."""
        with suppress(*TROUBLES, Refused):
            self._exchange()
            while self._part.leads and self._told and self._told.others and self._left_s():
                time.sleep(_HURRY_S)
                self._exchange()
        if self._recruiter:
            self._recruiter.dismiss(self._left_s())
        else:
            ray.get(self._anchor.leave.remote(self._part.node), timeout=_CALL_S)
        self._board.beat(self._row, "done")
