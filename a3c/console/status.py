"""`a3c status` and `a3c stop`: look at a run, or end it, from another shell.

Everything is read from the run directory: `status.json`, and the lock, which the kernel frees when the run
ends, however it ends.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from a3c.console.live import is_terminal, make_console, make_view
from a3c.console.panel import LIVE_STATES, count, panel
from a3c.errors import A3CError, UsageError
from a3c.settings.config import RUNS_FOLDER
from a3c.settings.flags import Parser
from a3c.settings.values import parse_duration
from a3c.storage.find_run import named_run, newest_run
from a3c.storage.run_directory import load_status
from a3c.storage.run_lock import LOCK, Holder, holding_process, lock_holder

WATCH_HINT = "Ctrl-C leaves this view; the run goes on"
_FORCED_STOP_S = 5.0


def status(argv: Sequence[str]) -> int:
    """`a3c status [RUN] [--json | --watch [--wait]]`."""
    parser = Parser("a3c status", "Shows a run: how far, how fast, how good, and each of its processes.")
    add_run(parser)
    parser.add_argument("--json", action="store_true", help="print status.json, its state checked")
    parser.add_argument("--watch", action="store_true", help="go on showing it, until it is over")
    parser.add_argument(
        "--wait", action="store_true", help="with --watch: wait for a run to begin where none goes on"
    )
    options = parser.parse(argv)
    if options.json and options.watch:
        raise UsageError("--json and --watch do not go together; give only one of them")
    if options.wait and not options.watch:
        raise UsageError("--wait goes with --watch")
    if options.watch:
        return _watch(options.run, options.wait)
    found = checked_status(find_run(options.run))
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        console = make_console(sys.stdout, is_terminal(sys.stdout))
        console.print(*panel(found, width=console.width), sep="\n")
    return 0


def stop(argv: Sequence[str]) -> int:
    """`a3c stop [RUN] [--force] [--timeout TIME]`."""
    parser = Parser("a3c stop", "Stops a run: it writes a last checkpoint and ends its processes.")
    add_run(parser)
    parser.add_argument("--force", action="store_true", help="when it takes too long, end it all the same")
    parser.add_argument(
        "--timeout", metavar="TIME", default="60s", help="how long the stop may take [default 60s]"
    )
    options = parser.parse(argv)
    run_dir, timeout_s = find_run(options.run), _timeout(options.timeout)
    holder = lock_holder(run_dir)
    if holder is None:
        print(f"{run_dir} is not running")
        return 0
    _stop_process(run_dir, _process(run_dir, holder), timeout_s, options.force)
    last = checked_status(run_dir)
    print(f"{run_dir} {last['state']} at {count(last.get('steps'))} steps; continue it with --load {run_dir}")
    return 0


def find_run(name: str) -> Path:
    """The run of that name; for no name, the newest. Raises UsageError when there is none."""
    run = named_run(name).path if name else newest_run(RUNS_FOLDER)
    if run is None:
        raise UsageError(f"no run under {RUNS_FOLDER}/ here; name its directory, or start one with run.py")
    return run


def checked_status(run_dir: Path) -> dict[str, Any]:
    """What status.json says; a run that claims to go on but holds no lock any more has died.

    Raises:
        StorageError: status.json cannot be read.
    """
    locked = lock_holder(run_dir) is not None  # before the status, which a run writes last
    found = load_status(run_dir)
    if found.get("state") in LIVE_STATES and not locked:
        found["state"] = "died"
        found["message"] = f"its process is gone without a word; continue it with --load {run_dir}"
    return found


def add_run(parser: Parser) -> None:
    """The argument that names a run."""
    text = f"run directory [default: the newest under {RUNS_FOLDER}/]"
    parser.add_argument("run", metavar="RUN", nargs="?", default="", help=text)


def _timeout(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--timeout {text}: {error}") from None


def _watch(name: str, wait: bool) -> int:
    """Shows a run, or whichever is newest, until it is over, or until Ctrl-C; waits for the first one, with
    `wait` for one that goes on."""
    view = make_view(sys.stdout, hint=WATCH_HINT)
    trouble = ""
    try:
        while True:
            try:
                run_dir = find_run(name)
                found = checked_status(run_dir)
                if wait and found.get("state") not in LIVE_STATES:
                    raise A3CError(f"no run goes on; {run_dir} was the last")
                name, wait, trouble = str(run_dir), False, ""
                view.update(found)
                if found.get("state") not in LIVE_STATES:
                    return 0
            except A3CError as error:
                if str(error) != trouble:
                    trouble = str(error)
                    view.message(f"waiting: {trouble}")
            time.sleep(1.0)
    except KeyboardInterrupt:
        return 0
    finally:
        view.close()


def _stop_process(run_dir: Path, process: psutil.Process, timeout_s: float, force: bool) -> None:
    """Asks the run's main process to stop, and with `force` at last makes it."""
    process.send_signal(signal.SIGTERM)
    if _ended(run_dir, process, timeout_s):
        return
    if not force:
        raise A3CError(f"{run_dir} still runs after {timeout_s:g} s; a3c stop --force {run_dir} ends it")
    process.send_signal(signal.SIGTERM)  # a second one skips the waiting and the checkpoint
    if _ended(run_dir, process, _FORCED_STOP_S):
        return
    process.kill()
    if not _ended(run_dir, process, _FORCED_STOP_S):
        raise A3CError(f"process {process.pid} of {run_dir} outlives SIGKILL; the system may need a restart")


def _process(run_dir: Path, holder: Holder) -> psutil.Process:
    """The process that holds the run's lock; what the lock's text says of it is only told."""
    with suppress(psutil.NoSuchProcess):
        if pid := holding_process(run_dir):
            process = psutil.Process(pid)
            if holding_process(run_dir) == pid:  # and no other process has its number meanwhile
                return process
    if holder.host != socket.gethostname():
        raise UsageError(f"{run_dir} runs on {holder.host or 'another host'}; stop it there")
    raise UsageError(
        f"the process of {run_dir} cannot be told: it is another user's, or in another container; "
        f"look for it with: fuser -v {run_dir / LOCK}"
    )


def _ended(run_dir: Path, process: psutil.Process, timeout_s: float) -> bool:
    """Whether that process lets go of the run in time."""
    deadline = time.monotonic() + timeout_s
    while process.is_running() and holding_process(run_dir) == process.pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
