"""Training from Python: the flags of `a3c run` as keywords, in a process of its own.

That process is the main process of the run, as under `a3c run`. So training works in a notebook, in a
thread and in a script without `if __name__ == "__main__"`: what is spawned imports none of the caller's code,
and the caller keeps its signals, its output and its environment.

Standard library only: torch is imported over there.
"""

from __future__ import annotations

import codecs
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from a3c.errors import A3CError, UsageError

if TYPE_CHECKING:
    from a3c.api.agent import Agent

_WITHIN = "A3C_API_TRAINING"
"""An environment variable that a training has, and all it starts."""

_PROGRAM = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); from a3c.api.child import main; main()"
)
_READ_BYTES = 65_536
_LOOK_S = 1.0  # how often to look whether the process is there, should somebody hold its pipes open


@dataclass(frozen=True)
class Training:
    """A training that came to its end."""

    run_dir: Path
    state: str  # "finished", or "stopped" by an interrupt, a signal or --max-rss
    reason: str

    def load(self, **how: Any) -> Agent:
        """The trained agent; takes the arguments of `a3c.load` and raises its errors."""
        from a3c.api.agent import load

        return load(self.run_dir, **how)


def train(**flags: Any) -> Training:
    """Trains, for instance `a3c.train(env="CartPole-v1", algo="ppo", max_steps=50_000)`, and returns when the
    training has ended. What it tells is printed.

    An interrupt (Ctrl-C, or a notebook's stop button) saves and stops, as it does with `a3c run`; a second
    one aborts. The training ends when the calling process or thread ends.

    Args:
        flags: those of `a3c run` (docs/flags.md), with underscores: `--max-steps 50k` is `max_steps="50k"` or
            `max_steps=50_000`. Lists are several values, `env_kwargs` is a dict, and None is as if it was not
            given.

    Returns:
        Where the run is and how it ended; `.load()` gives the agent.

    Raises:
        UsageError: unknown flags, bad values, an environment that cannot be made.
        RunDirectoryInUse, CheckpointError, QuorumLost, StorageError, Diverged: as with `a3c run`, whose exit
            code and words they have.
        KeyboardInterrupt: it was aborted, or interrupted before it began.
    """
    if _WITHIN in os.environ:
        raise UsageError(
            "a3c.train was called by a module that a training imports: put the call under "
            'if __name__ == "__main__", or the environment into a module of its own'
        )
    if "dry_run" in flags:
        raise UsageError("a3c.train has no dry_run: a3c run --dry-run shows the settings")
    argv = arguments(flags)
    try:
        return _train(argv)
    except UsageError as error:
        raise UsageError(f"{error}{not_there(str(error), flags.get('env'))}") from None


def arguments(flags: Mapping[str, Any]) -> list[str]:
    """The command line of `a3c run` that keywords mean."""
    return [
        word
        for name, value in flags.items()
        if value is not None
        for word in _words("--" + name.replace("_", "-"), value)
    ]


def _words(flag: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [flag, *(f"{key}={json.dumps(item)}" for key, item in value.items())]
    if isinstance(value, (list, tuple)):
        return [flag, *map(str, value)]
    return [f"{flag}={value}"]


def not_there(message: str, env: Any) -> str:
    """What to do when an environment is known in this process alone; else nothing."""
    gymnasium = sys.modules.get("gymnasium")
    if not message.startswith(f"--env {env}: ") or gymnasium is None or env not in gymnasium.registry:
        return ""
    return (
        f". It is registered in this process only, and a training has processes of its own: register it in a "
        f"module, and take env='module:{env}'"
    )


# ---------------------------------------------------------------------------------------------------
# The process


def _train(argv: list[str]) -> Training:
    """Raises A3CError or KeyboardInterrupt."""
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as answers:
        try:
            process = _start(argv, writer)
        finally:
            os.close(writer)
        answer, interrupted = _follow(process, answers)
    if answer:
        told = json.loads(answer)
        if "error" in told:
            raise _error(told["error"], told["message"])
        return Training(Path(told["run_dir"]), told["state"], told["reason"])
    if interrupted:
        raise KeyboardInterrupt
    code = process.returncode
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    raise A3CError(f"the training's main process ended {how}; what it printed says more")


def _start(argv: list[str], writer: int) -> subprocess.Popen[bytes]:
    path = json.dumps([place for place in sys.path if isinstance(place, str)])
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM, path, str(os.getpid()), str(writer), *argv],
        bufsize=0, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        pass_fds=(writer,), start_new_session=True, env={**os.environ, _WITHIN: "1"},
    )  # fmt: skip


def _follow(process: subprocess.Popen[bytes], answers: IO[bytes]) -> tuple[bytes, bool]:
    """Prints what the process prints until it has ended, and passes interrupts on. Returns its answer, and
    whether there was an interrupt."""
    answer, interrupted = bytearray(), False
    decode = codecs.getincrementaldecoder("utf-8")("replace").decode
    with process, selectors.DefaultSelector() as ready:
        ready.register(answers, selectors.EVENT_READ, answer.extend)
        ready.register(process.stdout or -1, selectors.EVENT_READ, lambda data: _show(decode(data)))
        try:
            while process.poll() is None:
                try:
                    _take(ready, _LOOK_S)
                    if not ready.get_map():
                        process.wait()  # it closes both pipes by its end only
                except KeyboardInterrupt:
                    interrupted = True
                    process.send_signal(signal.SIGINT)
            while _take(ready, 0.0):
                pass
        finally:
            process.terminate()  # where something failed here; else it has ended
    return bytes(answer), interrupted


def _take(ready: selectors.BaseSelector, timeout_s: float) -> bool:
    """Hands on what arrives; whether anything did."""
    events = ready.select(timeout_s)
    for key, _ in events:
        if data := os.read(key.fd, _READ_BYTES):
            key.data(data)
        else:
            ready.unregister(key.fileobj)
    return bool(events)


def _show(text: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads it, or it is closed: no reason to end a training
        print(text, end="", flush=True)


def _error(name: str, message: str) -> A3CError:
    kinds = {kind.__name__: kind for kind in A3CError.__subclasses__()}
    return kinds.get(name, A3CError)(message)
