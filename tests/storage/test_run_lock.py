"""One process per run directory."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from a3c.errors import RunDirectoryInUse, StorageError
from a3c.storage.find_run import choose_config
from a3c.storage.open_run import open_run
from a3c.storage.records import read_json
from a3c.storage.run_lock import RunLock, holding_process, lock_holder
from tests.fault_tools import ROOT
from tests.storage.runs import COMMAND

OPEN = """
import json, os, sys, time
from pathlib import Path
from a3c.settings.config import resolve
from a3c.errors import A3CError
from a3c.storage.open_run import open_run
root, run_dir, ready, go = sys.argv[1:]
given = {"env": "CartPole-v1", "preset": "none", **({"run_dir": run_dir} if run_dir else {})}
config = resolve(given)
Path(ready, str(os.getpid())).touch()
deadline = time.monotonic() + 120
while not os.path.exists(go):
    assert time.monotonic() < deadline, "nobody said go"
    time.sleep(0.001)
try:
    run = open_run(Path(root), config, ["x"])
    run.begin()
    print(json.dumps([0, str(run.path)]), flush=True)
except A3CError as error:
    print(json.dumps([error.exit_code, str(error)]), flush=True)
sys.stdin.read()
"""


def start_many(number: int, tmp_path: Path, run_dir: str = "") -> list[subprocess.Popen[str]]:
    """Processes that open a run at the same instant and hold it until their input ends."""
    ready, go = tmp_path / "ready", tmp_path / "go"
    ready.mkdir()
    command = [sys.executable, "-c", OPEN, str(tmp_path / "root"), run_dir, str(ready), str(go)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    return processes


def end_all(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        process.communicate(timeout=300)


def answer(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout is not None
    code, text = json.loads(process.stdout.readline())
    return code, text


class TestLock:
    def test_f33_ten_at_once_in_one_directory(self, tmp_path: Path, wait_until: Any) -> None:
        run_dir = tmp_path / "mine"
        processes = start_many(10, tmp_path, str(run_dir))
        try:
            wait_until(lambda: len(os.listdir(tmp_path / "ready")) == 10)
            (tmp_path / "go").touch()
            answers = [answer(process) for process in processes]
            winners = [
                process.pid for process, (code, _) in zip(processes, answers, strict=True) if code == 0
            ]
            assert sorted(code for code, _ in answers) == [0] + 9 * [3]
            holder = lock_holder(run_dir)
            assert holder is not None
            assert [holder.pid] == winners
            assert (
                f"in use by process {winners[0]} on {holder.host} since 20" in answers[0][1] + answers[1][1]
            )
        finally:
            end_all(processes)
        assert lock_holder(run_dir) is None

    def test_f33_ten_at_once_get_ten_directories(self, tmp_path: Path, wait_until: Any) -> None:
        processes = start_many(10, tmp_path)
        try:
            wait_until(lambda: len(os.listdir(tmp_path / "ready")) == 10)
            (tmp_path / "go").touch()
            answers = [answer(process) for process in processes]
        finally:
            end_all(processes)
        assert {code for code, _ in answers} == {0}
        suffixes = ["", *(f"-{i}" for i in range(2, 11))]
        assert {Path(path).name for _, path in answers} == {f"CartPole-v1-a3c{suffix}" for suffix in suffixes}

    def test_f33_a_lock_dies_with_its_holder(self, tmp_path: Path) -> None:
        run_dir = tmp_path / "mine"
        (tmp_path / "go").touch()
        (process,) = start_many(1, tmp_path, str(run_dir))
        assert answer(process)[0] == 0
        with pytest.raises(RunDirectoryInUse, match=f"process {process.pid} on "):
            RunLock(run_dir)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=300)
        with open_run(tmp_path, choose_config(tmp_path, {"load": str(run_dir)}), COMMAND) as run:
            assert run.path == run_dir

    def test_a_child_does_not_inherit_the_lock(self, tmp_path: Path) -> None:
        lock = RunLock(tmp_path)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        lock.release()
        RunLock(tmp_path).release()
        child.communicate(b"\n", timeout=300)

    @pytest.mark.parametrize(
        "text", ["", "garbage", "[" * 900, '{"pid": 1, "host": "\x1b[31m", "started": 3}', "[]"]
    )
    def test_f34_the_text_decides_nothing(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "lock").write_text(text)
        assert lock_holder(tmp_path) is None
        with RunLock(tmp_path):
            (tmp_path / "lock").write_text(text)
            with pytest.raises(RunDirectoryInUse, match="in use by") as caught:
                RunLock(tmp_path)
            assert str(caught.value).isprintable()
            assert lock_holder(tmp_path) is not None

    def test_f34_the_pid_of_a_living_process_in_an_old_file(self, tmp_path: Path) -> None:
        (tmp_path / "lock").write_text(json.dumps({"pid": os.getppid(), "host": "here", "started": "now"}))
        with RunLock(tmp_path):
            holder = lock_holder(tmp_path)
            assert holder is not None
            assert holder.pid == os.getpid()

    def test_who_only_looks_hinders_nobody(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("a3c.storage.run_lock.PATIENCE_S", 60.0)
        assert lock_holder(tmp_path) is None
        assert os.listdir(tmp_path) == []
        RunLock(tmp_path).release()
        looker = os.open(tmp_path / "lock", os.O_RDONLY)
        fcntl.flock(looker, fcntl.LOCK_SH)
        timer = threading.Timer(0.1, os.close, [looker])
        timer.start()
        RunLock(tmp_path).release()
        timer.join()

    def test_f81_a_removed_lock_file_lets_nobody_in(self, tmp_path: Path) -> None:
        with RunLock(tmp_path) as lock:
            (tmp_path / "lock").unlink()
            with pytest.raises(RunDirectoryInUse):
                RunLock(tmp_path)
            assert lock_holder(tmp_path) is not None
            assert holding_process(tmp_path) == os.getpid()
            assert lock.still_mine()
            assert read_json(tmp_path / "lock")["pid"] == os.getpid()  # it is there again
            with pytest.raises(RunDirectoryInUse, match=f"process {os.getpid()} on "):
                RunLock(tmp_path)

    def test_f81_a_moved_folder_is_still_locked_and_its_place_is_free(self, tmp_path: Path) -> None:
        run_dir = tmp_path / "run"
        run_dir.mkdir()
        with RunLock(run_dir) as first:
            assert first.still_mine()
            run_dir.rename(tmp_path / "old")
            assert not first.still_mine()
            with pytest.raises(RunDirectoryInUse):
                RunLock(tmp_path / "old")
            run_dir.mkdir()
            with RunLock(run_dir) as second:
                assert second.still_mine()
                assert not first.still_mine()

    def test_f81_where_folders_cannot_be_locked_the_file_decides(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = fcntl.flock

        def flock(fd: int, operation: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                raise OSError(errno.EBADF, "Bad file descriptor")  # as over NFS
            real(fd, operation)

        monkeypatch.setattr(fcntl, "flock", flock)
        with RunLock(tmp_path) as first:
            with pytest.raises(RunDirectoryInUse):
                RunLock(tmp_path)
            (tmp_path / "lock").unlink()
            with RunLock(tmp_path) as second:
                assert second.still_mine()
                assert not first.still_mine()

    def test_f81_a_lock_under_another_name_is_nobody_of_this_run(self, tmp_path: Path) -> None:
        (mine := tmp_path / "mine").mkdir()
        (other := tmp_path / "other").mkdir()
        with RunLock(other):
            os.link(other / "lock", mine / "lock")
            assert holding_process(mine) == 0

    def test_f34_the_kernel_knows_the_process(self, tmp_path: Path) -> None:
        (tmp_path / "go").touch()
        (process,) = start_many(1, tmp_path, str(tmp_path / "mine"))
        assert answer(process)[0] == 0
        assert holding_process(tmp_path / "mine") == process.pid
        end_all([process])
        assert holding_process(tmp_path / "mine") == 0
        assert holding_process(tmp_path / "nowhere") == 0

    @pytest.mark.parametrize("kind", ["pipe", "folder", "hard link"])
    def test_f80_something_else_in_the_place_of_the_lock(self, tmp_path: Path, kind: str) -> None:
        if kind == "pipe":
            os.mkfifo(tmp_path / "lock")
        elif kind == "folder":
            (tmp_path / "lock").mkdir()
        else:
            (tmp_path / "precious").write_text("precious")
            (tmp_path / "lock").hardlink_to(tmp_path / "precious")
        with pytest.raises(StorageError, match=r"cannot lock .*remove it"):
            RunLock(tmp_path)
        if kind != "hard link":
            with pytest.raises(StorageError, match=r"cannot look at the lock"):
                lock_holder(tmp_path)

    def test_a_link_in_the_place_of_the_lock(self, tmp_path: Path) -> None:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match="cannot lock"):
            RunLock(tmp_path)
        assert not (tmp_path / "elsewhere").exists()

    def test_f34_without_a_kernel_that_tells_the_named_process_must_have_the_file_open(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.open

        def other_system(path: Any, *args: Any, **options: Any) -> int:
            if path == "/proc/locks":
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
            return real(path, *args, **options)

        monkeypatch.setattr(os, "open", other_system)
        assert holding_process(tmp_path) == 0
        with RunLock(tmp_path):
            assert holding_process(tmp_path) == os.getpid()
            said = read_json(tmp_path / "lock")
            for lie in ({"pid": os.getppid()}, {"pid": -1}, {"pid": 2**40}, {"host": "elsewhere"}):
                (tmp_path / "lock").write_text(json.dumps({**said, **lie}))
                assert holding_process(tmp_path) == 0, lie
            (tmp_path / "lock").write_text(json.dumps(said))
        assert holding_process(tmp_path) == 0
        (tmp_path / "lock").write_text(json.dumps(said))
        assert holding_process(tmp_path) == 0, "nobody holds it, whatever it says"
