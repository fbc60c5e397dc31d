"""`python -m a3c.cluster.trial_run FLAGS...`: a run of `a3c run` in a folder of its own, on some node.

An actor of Ray's holds the other ends of its standard input and output. It says there the folder, which
it makes, and later the exit code of the run. A line that comes in asks the run to stop; when the input ends,
because the actor was done with the run or died, the run is ended, and its folder goes. Ray kills the
children of actors that it ends: so this becomes nobody's child, before there is anything to leave behind.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from functools import partial
from pathlib import Path

from a3c.processes.signals import end_with_parent, signal_tree

_STOP_S = 30.0  # a graceful stop, with its last checkpoint


def main(flags: list[str]) -> None:
    if os.fork():
        os._exit(0)
    os.setsid()
    folder = Path(tempfile.mkdtemp(prefix="a3c-trial-"))
    try:
        _say(str(folder))
        with (folder / "output.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "a3c", "run", *flags, "--run-dir", str(folder / "run")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                preexec_fn=partial(end_with_parent, os.getpid(), signal.SIGTERM),
            )  # fmt: skip
        listener = threading.Thread(target=_listen, args=(process,), daemon=True)
        listener.start()
        code = process.wait()
        _say(str(code))
        listener.join()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _say(words: str) -> None:
    with suppress(OSError):  # nobody listens any more
        print(words, flush=True)


def _listen(process: subprocess.Popen[bytes]) -> None:
    """Until the input ends."""
    for _ in sys.stdin:
        process.terminate()
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        signal_tree(process.pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
