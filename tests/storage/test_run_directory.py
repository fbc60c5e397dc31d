"""Run directories: their names, who gets which, and going on with the right one."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a3c.errors import CheckpointError, RunDirectoryInUse, StorageError, UsageError
from a3c.settings.config import Config, resolve
from a3c.storage.records import read_json, read_json_lines
from a3c.storage.run_directory import (
    RunDirectory,
    choose_config,
    find_run,
    load_config,
    open_run,
    read_status,
    run_name,
)
from a3c.storage.run_lock import RunLock, lock_holder
from tests.fault_tools import ROOT, run_python

COMMAND = ["run.py", "--env", "CartPole-v1"]


def settings(**given: Any) -> Config:
    return resolve({"env": "CartPole-v1", "preset": "none", **given})


def make_run(root: Path, checkpoints: tuple[int, ...] = (), **given: Any) -> Path:
    """A finished run with (the names of) checkpoints."""
    with open_run(root, settings(**given), COMMAND) as run:
        for step in checkpoints:
            (run.path / f"ckpt-{step:09d}").mkdir()
    return run.path


def set_age(path: Path, seconds: float) -> None:
    """Makes everything in a run look as if it was written at this time."""
    for child in [path, *path.iterdir()]:
        os.utime(child, (seconds, seconds))


class TestNames:
    @pytest.mark.parametrize(
        ("env", "name"),
        [
            ("Breakout-v0", "Breakout-v0-a3c"),
            ("ALE/Breakout-v5", "ALE-Breakout-v5-a3c"),
            ("package.module:Env_2-v0", "package.module-Env_2-v0-a3c"),
        ],
    )
    def test_of_ordinary_ids(self, env: str, name: str) -> None:
        assert run_name(env, "a3c") == name

    @pytest.mark.parametrize(
        "env",
        [
            "../../x",
            "..",
            "/etc/passwd",
            "$(touch y)",
            "`id`",
            "a;b",
            "a b",
            "a\n",
            "\x1b[31m",
            "Pöng-v0",
            "\u03a1ong",
            "",
            "-rf",
            ".hidden",
            "a\0b",
            "x" * 300,
            "a\\b",
            "~root",
            "*",
            "\udc80",
        ],
    )
    def test_f47_odd_ids_name_nothing(self, tmp_path: Path, env: str) -> None:
        with pytest.raises(UsageError, match="cannot name a folder") as caught:
            open_run(tmp_path, settings(env=env), COMMAND)
        assert str(caught.value).isprintable()
        assert os.listdir(tmp_path) == []

    def test_runs_are_numbered(self, tmp_path: Path) -> None:
        paths = [make_run(tmp_path / "checkpoints") for _ in range(3)]
        assert [path.name for path in paths] == ["CartPole-v1-a3c", "CartPole-v1-a3c-2", "CartPole-v1-a3c-3"]

    def test_whatever_has_the_name_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "CartPole-v1-a3c").write_text("a file")
        (tmp_path / "CartPole-v1-a3c-2").symlink_to("nowhere")
        assert make_run(tmp_path).name == "CartPole-v1-a3c-3"

    @pytest.mark.parametrize("text", ["x" * 300, "a\nb", "\x1b[31m", "a\0b", "\udc80"])
    @pytest.mark.parametrize("flag", ["run_dir", "load"])
    def test_f47_odd_paths(
        self, tmp_path: Path, flag: str, text: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(UsageError) as caught:
            open_run(tmp_path, settings(**{flag: text}), COMMAND)
        assert str(caught.value).isprintable()
        assert os.listdir(tmp_path) == []

    def test_f47_a_run_dir_is_only_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert make_run(tmp_path, run_dir="$(touch y); rm -rf *").name == "$(touch y); rm -rf *"
        assert os.listdir(tmp_path) == ["$(touch y); rm -rf *"]


class TestNewRuns:
    def test_config_json_tells_how_it_was_started(self, tmp_path: Path) -> None:
        run = open_run(tmp_path, settings(lr=0.5, gpu_ids=[0, 1], env_kwargs={"a": 1}), COMMAND)
        saved = read_json(run.path / "config.json")
        assert saved["settings"]["optim"]["lr"] == 0.5
        assert saved["run_id"] == run.run_id
        (start,) = saved["starts"]
        assert start["command"] == COMMAND
        assert start["pid"] == os.getpid()
        assert {"python", "torch", "numpy", "gymnasium", "ale-py"} <= set(start["versions"])
        assert load_config(run.path) == settings(lr=0.5, gpu_ids=[0, 1], env_kwargs={"a": 1})
        assert (run.resumed, run.checkpoint) == (False, None)
        run.close()
        run.close()

    def test_run_dir_is_exactly_that(self, tmp_path: Path) -> None:
        assert make_run(tmp_path / "root", run_dir=str(tmp_path / "a/b/mine")) == tmp_path / "a/b/mine"
        assert not (tmp_path / "root").exists()

    def test_run_dir_may_exist_but_hold_no_run(self, tmp_path: Path) -> None:
        (tmp_path / "log.txt").write_text("of tee")
        assert make_run(tmp_path, run_dir=str(tmp_path)) == tmp_path

    @pytest.mark.parametrize(
        "sign",
        [
            "config.json",
            "status.json",
            "metrics.jsonl",
            "ckpt-000000001",
            "best-000000001",
            "corrupt-ckpt-000000001",
        ],
    )
    def test_run_dir_with_a_run_is_refused(self, tmp_path: Path, sign: str) -> None:
        (tmp_path / sign).mkdir()
        with pytest.raises(UsageError, match=f"already holds a run; continue it with --load {tmp_path}"):
            make_run(tmp_path, run_dir=str(tmp_path))
        assert lock_holder(tmp_path) is None

    @pytest.mark.parametrize("path", ["file", "file/run", "loop/run"])
    def test_run_dir_that_cannot_be(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "file").write_text("")
        (tmp_path / "loop").symlink_to("loop")
        with pytest.raises(UsageError, match=r"is a file|cannot be a folder"):
            make_run(tmp_path, run_dir=str(tmp_path / path))

    def test_a_root_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to("nowhere")
        with pytest.raises(UsageError, match="cannot be a folder"):
            make_run(tmp_path / "link")

    def test_imports_no_torch(self) -> None:
        code = "import a3c.storage.run_directory, sys, json; print(json.dumps('torch' in sys.modules))"
        assert run_python(code) is False


class TestContinuing:
    def test_newest_run_of_env_and_algo(self, tmp_path: Path) -> None:
        old, new = make_run(tmp_path, (10,)), make_run(tmp_path, (5,))
        other = make_run(tmp_path, (99,), env="Acrobot-v1")
        for path, age in ((old, 1000), (new, 2000), (other, 3000)):
            set_age(path, age)
        config = choose_config(tmp_path, {"env": "CartPole-v1", "load": "newest"})
        assert config.run.run_dir == str(new)
        with open_run(tmp_path, config, COMMAND) as run:
            assert (run.path, run.resumed, run.checkpoint) == (new, True, None)
        set_age(old, 4000)
        set_age(new, 2000)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == old

    def test_a_run_that_died_young_does_not_hide_days_of_work(self, tmp_path: Path) -> None:
        old, young = make_run(tmp_path, (10,)), make_run(tmp_path)
        set_age(old, 1000)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == old
        shutil.rmtree(old)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == young

    def test_damaged_neighbours_are_passed_over(self, tmp_path: Path) -> None:
        good = make_run(tmp_path)
        for name, content in (
            ("a", "{"),
            ("b", "{}"),
            ("c", '{"run_id": "", "settings": {"env": 3}, "starts": []}'),
        ):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text(content)
            with pytest.raises(CheckpointError, match=r"config\.json"):
                load_config(tmp_path / name)
        assert find_run(tmp_path, {"env": "CartPole-v1", "load": "newest"}).path == good

    def test_by_path_of_the_run_or_of_a_checkpoint(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, (1, 2))
        (tmp_path / "link").symlink_to(path / "ckpt-000000001")
        for load, checkpoint in (
            (path, None),
            (path / "ckpt-000000001", path / "ckpt-000000001"),
            (tmp_path / "link", path / "ckpt-000000001"),
        ):
            config = choose_config(tmp_path, {"load": str(load)})
            with open_run(tmp_path, config, COMMAND) as run:
                assert (run.path, run.resumed, run.checkpoint) == (path, True, checkpoint)

    def test_with_run_dir(self, tmp_path: Path) -> None:
        first, second = make_run(tmp_path, (1,)), make_run(tmp_path, (2,))
        assert find_run(tmp_path, {"load": "newest", "run_dir": str(first)}).path == first
        both = {"load": str(second / "ckpt-000000002"), "run_dir": str(second)}
        assert find_run(tmp_path, both).checkpoint == second / "ckpt-000000002"
        with pytest.raises(UsageError, match="is not in --run-dir"):
            find_run(tmp_path, {"load": str(first), "run_dir": str(second)})

    def test_nothing_to_load(self, tmp_path: Path) -> None:
        (tmp_path / "stray").mkdir()
        for given in (
            {"load": "newest"},
            {"load": str(tmp_path / "none")},
            {"load": str(tmp_path / "stray")},
            {"load": "newest", "run_dir": str(tmp_path / "none")},
        ):
            with pytest.raises(UsageError, match="nothing to load"):
                choose_config(tmp_path / "checkpoints", given)
        assert os.listdir(tmp_path) == ["stray"]

    def test_flags_are_laid_over_the_saved_settings(self, tmp_path: Path) -> None:
        make_run(tmp_path, (1,), lr=0.5, gamma=0.9, max_steps=100, init_from="weights.pt")
        config = choose_config(
            tmp_path, {"env": "CartPole-v1", "load": "newest", "gamma": "0.8", "max_steps": "2k"}
        )
        assert (config.optim.lr, config.learn.gamma, config.run.max_steps) == (0.5, 0.8, 2000)
        assert config.run.init_from == ""
        open_run(tmp_path, config, COMMAND).close()
        again = choose_config(tmp_path, {"env": "CartPole-v1", "load": "newest"})
        assert (again.optim.lr, again.learn.gamma) == (0.5, 0.8)

    @pytest.mark.parametrize(
        "given", [{"env": "Acrobot-v1"}, {"preset": "other"}, {"gamma": "7"}, {"init_from": "weights.pt"}]
    )
    def test_flags_that_contradict_the_saved_run(self, tmp_path: Path, given: dict[str, str]) -> None:
        path = make_run(tmp_path, (1,))
        with pytest.raises(UsageError):
            choose_config(tmp_path, {"load": str(path), **given})

    def test_the_history_of_starts_grows_and_the_id_stays(self, tmp_path: Path) -> None:
        first = open_run(tmp_path, settings(), COMMAND)
        first.close()
        for number in range(3):
            with open_run(
                tmp_path, choose_config(tmp_path, {"load": str(first.path)}), ["resume", str(number)]
            ) as run:
                assert run.run_id == first.run_id
        starts = read_json(first.path / "config.json")["starts"]
        assert [start["command"] for start in starts] == [
            COMMAND,
            ["resume", "0"],
            ["resume", "1"],
            ["resume", "2"],
        ]


class TestStatus:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[RunDirectory]:
        with open_run(tmp_path, settings(), COMMAND) as run:
            yield run

    def test_status_and_metrics(self, run: RunDirectory) -> None:
        assert read_status(run.path) is None
        assert run.write_status({"state": "running", "eta_s": float("inf")})
        assert read_status(run.path) == {"state": "running", "eta_s": None}
        assert run.metrics.append({"kind": "train", "env_steps": 1})
        assert list(read_json_lines(run.path / "metrics.jsonl")) == [{"kind": "train", "env_steps": 1}]

    def test_f28_a_vanished_directory_does_not_stop_the_run(self, run: RunDirectory) -> None:
        shutil.rmtree(run.path)
        assert not run.write_status({"state": "running"})
        assert run.status_error == "No such file or directory"
        run.path.mkdir()
        assert run.write_status({"state": "running"})
        assert run.status_error == ""

    def test_a_damaged_status_is_none(self, run: RunDirectory) -> None:
        (run.path / "status.json").write_text("{")
        assert read_status(run.path) is None


OPEN = """
import json, os, sys, time
from pathlib import Path
from a3c.settings.config import resolve
from a3c.errors import A3CError
from a3c.storage.run_directory import open_run
root, run_dir, ready, go = sys.argv[1:]
given = {"env": "CartPole-v1", "preset": "none", **({"run_dir": run_dir} if run_dir else {})}
config = resolve(given)
Path(ready, str(os.getpid())).touch()
deadline = time.monotonic() + 60
while not os.path.exists(go):
    assert time.monotonic() < deadline, "nobody said go"
    time.sleep(0.001)
try:
    run = open_run(Path(root), config, ["x"])
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
        process.communicate(timeout=20)


def answer(process: subprocess.Popen[str]) -> tuple[int, str]:
    assert process.stdout is not None
    code, text = json.loads(process.stdout.readline())
    return code, text


class TestLock:
    def test_f33_ten_at_once_in_one_directory(self, tmp_path: Path, wait_until: Any) -> None:
        run_dir = tmp_path / "mine"
        processes = start_many(10, tmp_path, str(run_dir))
        try:
            wait_until(lambda: len(os.listdir(tmp_path / "ready")) == 10, timeout_s=30)
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
            wait_until(lambda: len(os.listdir(tmp_path / "ready")) == 10, timeout_s=30)
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
        process.communicate(timeout=20)
        with open_run(tmp_path, choose_config(tmp_path, {"load": str(run_dir)}), COMMAND) as run:
            assert run.path == run_dir

    def test_a_child_does_not_inherit_the_lock(self, tmp_path: Path) -> None:
        lock = RunLock(tmp_path)
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
        lock.release()
        RunLock(tmp_path).release()
        child.communicate(b"\n", timeout=20)

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

    def test_who_only_looks_hinders_nobody(self, tmp_path: Path) -> None:
        assert lock_holder(tmp_path) is None
        assert os.listdir(tmp_path) == []
        RunLock(tmp_path).release()
        looker = os.open(tmp_path / "lock", os.O_RDONLY)
        fcntl.flock(looker, fcntl.LOCK_SH)
        timer = threading.Timer(0.1, os.close, [looker])
        timer.start()
        RunLock(tmp_path).release()
        timer.join()

    def test_a_link_in_the_place_of_the_lock(self, tmp_path: Path) -> None:
        (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(StorageError, match="cannot lock"):
            RunLock(tmp_path)
        assert not (tmp_path / "elsewhere").exists()


class TestPermissions:
    CODE = """
import json, os, sys
from pathlib import Path
from a3c.settings.config import resolve
from a3c.errors import A3CError
from a3c.storage.run_directory import choose_config, open_run
if os.geteuid() == 0:
    os.seteuid(65534)
results = []
for given in json.loads(sys.argv[2]):
    try:
        config = choose_config(Path(sys.argv[1]), {"env": "CartPole-v1", **given})
        open_run(Path(sys.argv[1]), config, ["x"])
        results.append([0, ""])
    except A3CError as error:
        results.append([error.exit_code, str(error)])
print(json.dumps(results))
"""

    def test_f28_a_root_that_cannot_be_written(self) -> None:
        """As an ordinary user, also where the tests run as root."""
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            run = make_run(root, (1,))
            for path in (run / "lock", run / "config.json"):
                path.chmod(0o444)
            run.chmod(0o555)
            root.chmod(0o555)
            new = {"preset": "none"}
            given = [new, {**new, "run_dir": f"{root}/a/b"}, {"load": "newest"}, {**new, "run_dir": str(run)}]
            results = run_python(self.CODE, root, json.dumps(given))
            root.chmod(0o755)
            run.chmod(0o755)
        assert [code for code, _ in results] == [6, 6, 6, 6]
        for _, message in results:
            assert "Permission denied; check who owns the folder" in message
            assert "\n" not in message
