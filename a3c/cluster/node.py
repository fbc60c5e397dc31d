"""`python -m a3c.cluster.node PARENT`: the supervisor of a node that is not the head, started by Ray's actor
there. It reads its order, JSON, from its standard input, trains until it is told to stop, and has no folder
of its own but a temporary one for its logs.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import sys
import tempfile
import time
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from a3c import __version__
from a3c.cluster.membership import Membership
from a3c.cluster.orders import offset, settings_of
from a3c.cluster.part import Part
from a3c.cluster.replica import ReplicaMemory
from a3c.errors import EXIT_OK, A3CError, UsageError
from a3c.processes.guardian import guarded
from a3c.processes.signals import Signals, end_with_parent
from a3c.storage.run_directory import RunDirectory
from a3c.storage.run_lock import LOCK, RunLock, lock_holder
from a3c.stores.scoreboard import STOP_WORKERS
from a3c.training.preflight import check_room
from a3c.training.process_team import ProcessTeam, limits
from a3c.training.session import Session, open_session

_FOLDER = "a3c-node-"
_log = logging.getLogger(__name__)


def main(parent: int) -> int:
    """Returns the exit code: 0 when it stopped as told, or for want of a head."""
    end_with_parent(parent)
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    order = json.load(sys.stdin)
    remove_folders_of_the_killed()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    try:
        with guarded(), Signals() as signals:
            if order["version"] != __version__:
                raise UsageError(
                    f"version {__version__} is installed here, and {order['version']} on the head"
                )
            session = open_node(order, folder)
            check_room(session)
            memory = ReplicaMemory.allocate(session.memory.weights.numel(), session.board.sums)
            name = f"{order['node']}-{session.node:x}"
            part = Part(order["address"], order["run"], name, 0, memory, leads=False)
            _log.info("%s", train(session, Membership(part), signals))
    except A3CError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return EXIT_OK


def remove_folders_of_the_killed() -> None:
    """Those of nodes' supervisors on this machine that could not remove their own."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with suppress(OSError, A3CError):  # another one was quicker, or it is another user's
            locked_once = (folder / LOCK).exists()  # else somebody is just about to
            if folder.lstat().st_uid == os.getuid() and locked_once and lock_holder(folder) is None:
                shutil.rmtree(folder)


def open_node(order: dict[str, Any], folder: Path) -> Session:
    """The session of a node. Raises A3CError."""
    run = RunDirectory(folder, order["run_id"], False, None, RunLock(folder), {}, [])
    session = open_session(settings_of(order), run)
    number = secrets.randbelow(2**62) + 1
    return replace(session, resumes=order["resumes"], node=number, offset=offset(order["seat"]))


def train(session: Session, membership: Membership, signals: Signals) -> str:
    """Trains until there is a reason to stop, which it returns. Raises A3CError."""
    run, patience_s = session.config.run, session.config.cluster.head_patience
    head_heard, reason = time.monotonic() + limits(run).start_s, ""  # who hears it has to start first
    with closing(ProcessTeam(session, None, membership)) as team:
        team.start()
        while not reason:
            for event in team.turn():
                if event.kind == "head":
                    head_heard = time.monotonic() - event.payload["silent_s"]
                    reason = "stopped, as the head" if event.payload["stop"] else reason
            if signals.requested:
                reason = f"stopped by {signals.requested.name}"
            if time.monotonic() - head_heard > patience_s:
                reason = f"stopped: nothing was heard of the head for {patience_s:g} s (--head-patience)"
        session.board.stop = STOP_WORKERS
        team.end_workers(run.grace / 4, lambda: None)
    return reason


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
