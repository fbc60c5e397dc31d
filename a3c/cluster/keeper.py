"""The actor of Ray's on every node but the head: it keeps that node's supervisor going.

The supervisor is a process of its own, because Ray may end an actor's process at any time; it ends with it.
No torch here: the actor waits, and that is all.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from typing import Any

from a3c.cluster.connection import end_this_actor, take_usual_priority
from a3c.errors import EXIT_USAGE

_BACKOFF_S, _LONGEST_BACKOFF_S = 2.0, 60.0
_POLL_S = 1.0
_LAST_WORDS = 2_000  # characters


class NodeActor:
    """Keeps the supervisor of its node going: started anew when it fails, until it ends as told.

    Args:
        order: what `a3c.cluster.node` reads.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        take_usual_priority()
        self._order, self._state, self._restarts, self._words = order, "starting", 0, ""
        self._asked = time.monotonic()
        threading.Thread(target=self._keep, daemon=True).start()

    def state(self) -> tuple[str, int, str]:
        """In one word how it is, how often it was restarted, and why."""
        self._asked = time.monotonic()
        return self._state, self._restarts, self._words

    def _keep(self) -> None:
        pause_s = _BACKOFF_S
        began = time.monotonic()
        while (code := self._run()) != 0:
            if time.monotonic() - began > _LONGEST_BACKOFF_S:  # it was well meanwhile
                pause_s = _BACKOFF_S
            cured = code != EXIT_USAGE  # maybe, by a restart
            self._state = "backoff" if cured else "failed"
            until = time.monotonic() + (pause_s if cured else math.inf)
            while time.monotonic() < until and self._head_is_there():
                time.sleep(_POLL_S)
            if not self._head_is_there():
                break
            pause_s = min(2 * pause_s, _LONGEST_BACKOFF_S)
            self._restarts, began = self._restarts + 1, time.monotonic()
        self._state = "done"
        end_this_actor()

    def _head_is_there(self) -> bool:
        patience_s: float = self._order["patience_s"]
        return time.monotonic() - self._asked < patience_s

    def _run(self) -> int:
        """The supervisor, from its start to its end; returns its exit code."""
        folder = self._order["folder"]
        environ = {k: v for k, v in os.environ.items() if (k, v) != ("CUDA_VISIBLE_DEVICES", "")}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "a3c.cluster.node", str(os.getpid())],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
            cwd=folder if os.path.isdir(folder) else "/",  # where nobody else may put a module
        )  # fmt: skip
        self._state = "running"
        if process.stdin and process.stderr:
            with process.stdin as stdin, suppress(OSError):
                stdin.write(json.dumps(self._order))
            last: deque[str] = deque(maxlen=1)
            for line in process.stderr:
                sys.stderr.write(line)
                last.append(line)
            self._words = "".join(last)[:_LAST_WORDS].strip()
        return process.wait()
