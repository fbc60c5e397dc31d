"""The tmux session, on a real tmux server of its own: trainer, status, TensorBoard."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from a3c.storage.run_lock import lock_holder

ROOT = Path(__file__).parents[1]
Tmux = Callable[..., str]

pytestmark = pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose environment is already built: the one that runs this test."""
    for name in ("a3c", "evaluators", "run.py", "tmux.conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Makefile").write_text("setup:\n\t@true\n")
    (tmp_path / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        (tmp_path / ".venv" / entry.name).symlink_to(entry)
    (tmp_path / ".venv" / ".installed").unlink(missing_ok=True)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def outside_tmux(checkout: Path) -> dict[str, str]:
    """The environment of a terminal that knows only this test's server."""
    environment = {key: value for key, value in os.environ.items() if key != "TMUX"}
    return environment | {"TERM": "xterm", "TMUX_TMPDIR": str(checkout)}


@pytest.fixture
def tmux(checkout: Path) -> Iterator[Tmux]:
    """`tmux("list-windows")`: a command to a server that only this test knows."""
    environment = outside_tmux(checkout) | {"A3C_ARGS": "--env CartPole-v1 --workers 1"}

    def command(*words: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", "tmux.conf", *words],
            cwd=checkout, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield command
    subprocess.run(["tmux", "kill-server"], env=environment, capture_output=True, timeout=300)


def test_f15_f38_trainer_status_and_tensorboard_in_one_session(
    checkout: Path, tmux: Tmux, wait_until: Callable[..., None]
) -> None:
    tmux("new-session", "-d", "-x", "120", "-y", "40")
    assert tmux("list-windows", "-a", "-F", "#{session_name} #{window_name}").splitlines() == [
        "a3c trainer", "a3c status", "a3c tensorboard",
    ]  # fmt: skip
    assert tmux("show-options", "-gv", "default-command").strip() in ("", "''")
    run_dir = checkout / "checkpoints" / "CartPole-v1-a3c"

    def shows(window: str, *words: str) -> bool:
        screen = tmux("capture-pane", "-p", "-t", f"a3c:{window}")
        return all(word in screen for word in words)

    def status() -> dict[str, object]:
        try:
            found: dict[str, object] = json.loads((run_dir / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    wait_until(lambda: status().get("steps"), what="the first step")
    wait_until(
        lambda: shows("trainer", "worker 0", "running", "Ctrl-C saves and stops"), what="the live view"
    )
    wait_until(lambda: shows("status", "worker 0", "running", "Ctrl-C leaves this view"), what="the status")
    wait_until(lambda: shows("tensorboard", "http://127.0.0.1:"), what="TensorBoard")
    board = psutil.Process(int(tmux("list-panes", "-t", "a3c:tensorboard", "-F", "#{pane_pid}")))
    listening = {c.laddr.ip for c in board.net_connections() if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}

    tmux("kill-session", "-t", "a3c")  # sends SIGHUP, as a lost connection to a plain terminal does
    wait_until(lambda: lock_holder(run_dir) is None, what="the end of the run")
    assert status()["state"] == "stopped"
    assert list(run_dir.glob("ckpt-*"))
    wait_until(lambda: not board.is_running(), what="the end of TensorBoard")


@contextmanager
def attached(checkout: Path) -> Iterator[int]:
    """Somebody at a terminal, looking at the session; what is written to the descriptor is what they type."""
    keyboard, terminal = pty.openpty()
    client = subprocess.Popen(
        ["tmux", "attach"],
        env=outside_tmux(checkout), stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    try:
        yield keyboard
    finally:
        client.kill()
        client.wait()
        os.close(keyboard)


def test_a_window_keeps_its_last_words_and_starts_again(
    checkout: Path, tmux: Tmux, wait_until: Callable[..., None]
) -> None:
    (checkout / "run.py").unlink()
    (checkout / "run.py").write_text("raise SystemExit('error: nothing works')")
    tmux("new-session", "-d")

    def wait_for_the_end(words: str) -> None:
        def shown() -> str:
            return tmux("capture-pane", "-p", "-t", "a3c:trainer")

        try:
            wait_until(lambda: words in shown() and "Pane is dead" in shown(), what=f"{words!r} and the end")
        except AssertionError as error:
            pytest.fail(f"{error}; the window shows {shown()!r}")

    with attached(checkout) as keyboard:
        wait_for_the_end("nothing works")
        (checkout / "run.py").write_text("raise SystemExit('error: still nothing')")
        os.write(keyboard, b"\x02R")  # Ctrl-b R
        wait_for_the_end("still nothing")
