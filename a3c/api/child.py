"""The process that `a3c.api.train` starts: the main process of a run, as under `a3c run`.

It ends gracefully when its parent does, and answers with one JSON object: where the run is and how it ended,
or the error; nothing when it was aborted.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

from a3c.cli import train_as_told
from a3c.console.streams import UnbreakableStream
from a3c.errors import A3CError
from a3c.processes.signals import end_with_parent


def main() -> None:
    """Arguments: the parent's pid, the descriptor of the answer, and the flags of `a3c run`."""
    parent, answers, *flags = sys.argv[1:]
    end_with_parent(int(parent), signal.SIGTERM)
    os.set_inheritable(int(answers), False)
    sys.argv = ["a3c", "run", *flags]
    with suppress(KeyboardInterrupt):
        answer = json.dumps(outcome(flags))
        UnbreakableStream(sys.stdout).settle()
        with suppress(BrokenPipeError):
            os.write(int(answers), answer.encode())


def outcome(flags: Sequence[str]) -> dict[str, str]:
    """Trains; the answer."""
    try:
        ended = train_as_told(flags)
    except A3CError as error:
        return {"error": type(error).__name__, "message": str(error)}
    if ended is None:
        return {}
    return {
        "run_dir": str(ended.run_dir.absolute()),
        "state": ended.state,
        "reason": ended.ending.reason,
    }
