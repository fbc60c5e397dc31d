"""A node's part in a cluster, as its supervisor sees it: one more child process."""

from __future__ import annotations

import os

from a3c.cluster.part import Part
from a3c.errors import StorageError
from a3c.processes.child import Link
from a3c.processes.group import ChildSpec
from a3c.processes.supervisor import EXCHANGER
from a3c.training.session import Session


class Membership:
    """See `a3c.training.process_team.Exchange`."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def share(self) -> None:
        try:
            self._part.memory.share()
        except RuntimeError as error:
            raise StorageError(f"no room in shared memory for the exchange ({error})") from error

    def renew(self) -> None:
        """After a roll-back on the head its weights become those of all."""
        if self._part.leads:
            self._part.memory.lead()
        else:
            self._part.memory.part()

    def child(self, session: Session) -> ChildSpec:
        part = self._part
        secrets = {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH_")}
        return ChildSpec("exchanger", EXCHANGER, _exchange, lambda restarts: (session, part), secrets)


def _exchange(session: Session, part: Part, link: Link) -> None:
    from a3c.cluster.exchanger import run_exchanger  # and Ray with it, in that process alone

    run_exchanger(session, part, link)
