"""`a3c.train`: a real training in a process of its own, from every kind of caller."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import gymnasium
import psutil
import pytest

import a3c
from a3c.api.child import outcome
from a3c.api.train import arguments, not_there
from a3c.envs.registry import find
from a3c.errors import RunDirectoryInUse, UsageError
from a3c.settings.config import Config, resolve, settings
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.groups import EnvConfig
from a3c.storage.run_lock import RunLock
from tests.run_tools import ROOT, gone, wait_for

QUICK = {"env": "CartPole-v1", "algo": "ppo", "eval_every": 0}
KWARGS = {"a": "x=y", "b": [1, None], "c": "true"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Script:
    """A program of somebody's, in a process of its own."""

    def __init__(self, folder: Path, code: str, *how: str) -> None:
        (folder / "mine.py").write_text(code)
        self.output = folder / "output.txt"
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.output.open("w") as output, (folder / "mine.py").open() as stdin:
            self.process = subprocess.Popen(
                [sys.executable, *(how or ("mine.py",))], cwd=folder, env=environ,
                stdin=stdin, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        for process in self.family():
            process.kill()
        self.process.wait(300)

    def family(self) -> list[psutil.Process]:
        if self.process.poll() is not None:
            return []
        main = psutil.Process(self.process.pid)
        return [main, *main.children(recursive=True)]

    def end(self) -> str:
        code = self.process.wait(300)
        assert code == 0, self.output.read_text()
        return self.output.read_text()

    def says(self, words: str) -> None:
        wait_for(lambda: words in self.output.read_text(), what=words)


# -- The flags


def config_of(words) -> Config:
    parser = Parser("a3c run", "")
    add_settings(parser)
    options, unknown = parser.parse_known_args(words)
    assert unknown == []
    return resolve(given_settings(options))


def test_every_keyword_is_the_setting_of_its_flag():
    values = {"env_kwargs": {"map_name": "8x8", "is_slippery": False}, "gpu_ids": [], "hidden": (32, 16)}
    other = {bool: True, int: 3, float: 0.5, str: "none"}
    for s in settings().values():
        value = values.get(s.name, s.choices[-1] if s.choices else other.get(s.type))
        words = arguments({s.flag.lstrip("-").replace("-", "_"): value})
        parser = Parser("a3c run", "")
        add_settings(parser)
        options, unknown = parser.parse_known_args(words)
        assert (unknown, list(given_settings(options))) == ([], [s.name])


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        ({"max_steps": 50_000}, "max_steps", 50_000),
        ({"max_steps": 1e6}, "max_steps", 1_000_000),
        ({"max_steps": "50k"}, "max_steps", 50_000),
        ({"max_time": "1h30m"}, "max_time", 5400.0),
        ({"lr": 1e-7}, "lr", 1e-7),
        ({"amsgrad": False}, "amsgrad", False),
        ({"optimizer_epsilon": 1e-3}, "epsilon", 1e-3),
        ({"seed": None}, "seed", 1),
        ({"algo": "dqn", "hidden": [32, 16]}, "hidden", (32, 16)),
        ({"gpu_ids": [0, 1]}, "gpu_ids", (0, 1)),
        ({"run_dir": Path("a b")}, "run_dir", "a b"),
        ({"load": False}, "load", ""),
        ({"target_score": -100}, "target_score", -100.0),
        ({"env_kwargs": KWARGS}, "env_kwargs", KWARGS),
    ],
)  # fmt: skip
def test_values_are_taken_as_they_are(flags, name, value):
    assert config_of(arguments(flags)).get(name) == value


# -- Callers


def test_a_script_without_a_guard_trains_also_in_a_thread(here):
    code = f"""
import threading, a3c
print("begins as", __name__)
found = []
thread = threading.Thread(target=lambda: found.append(a3c.train(**{QUICK!r}, workers=1, max_steps=1000)))
thread.start()
thread.join()
print(found[0].state, "|", found[0].reason, "|", found[0].run_dir)
"""
    with Script(here, code) as script:
        output = script.end()
    run_dir = here / "checkpoints" / "CartPole-v1-ppo"
    assert output.count("begins as") == 1
    assert f"finished | --max-steps 1000 is reached | {run_dir}\n" in output
    assert "ppo with mlp, preset cartpole-ppo, 1 worker x 8 environments" in output
    assert "\x1b" not in output
    start = json.loads((run_dir / "config.json").read_text())["starts"][0]
    assert start["command"][:3] == ["a3c", "run", "--env=CartPole-v1"]
    assert a3c.load(run_dir).env_steps >= 1000


def test_a_killed_caller_leaves_nobody(here):
    code = f"""
import a3c
a3c.train(**{QUICK!r}, workers=0, run_dir="run")
print("not to be seen")
"""
    with Script(here, code, "-") as script:
        status = here / "run" / "status.json"
        wait_for(lambda: status.exists() and json.loads(status.read_text())["steps"] > 0, what="steps")
        family = script.family()
        script.process.kill()
        wait_for(lambda: gone(family), what="all processes to end")
    assert len(family) == 2
    assert "not to be seen" not in script.output.read_text()
    assert json.loads(status.read_text())["state"] == "stopped"  # with a last checkpoint
    assert a3c.load(here / "run").env_steps > 0


@pytest.mark.slow
def test_a_second_interrupt_aborts(here):
    hangs = here / "hangs"
    code = f"""
import sys, a3c
sys.path.append({str(ROOT / "tests")!r})
a3c.train(env="fault_env:Fault-v0", env_kwargs={{"mode": "hang", "tally": {str(hangs)!r}}}, workers=0)
print("not to be seen")
"""
    with Script(here, code) as script:
        wait_for(hangs.exists, what="a worker that does not leave")
        family = script.family()
        # again and again: one that comes right after the first is taken for the same request
        wait_for(lambda: gone(family[1:]) or script.process.send_signal(signal.SIGINT), what="the forced end")
        assert script.process.wait(300) == -signal.SIGINT  # as Python ends by a KeyboardInterrupt
    output = script.output.read_text()
    assert "forced to end by SIGINT" in output
    assert "not to be seen" not in output


# -- Mistakes


def test_mistakes_are_an_error_with_the_words_of_the_command_line(here, capsys):
    with pytest.raises(UsageError) as raised:
        a3c.train(wrokers=2, lr=-1, env="CartPole-v1")
    assert (
        str(raised.value)
        == "--wrokers: no such flag; did you mean --workers?; --lr -1: below the least value, 0"
    )
    assert capsys.readouterr().out == ""
    assert list(here.iterdir()) == []


def test_a_dry_run_is_the_command_lines():
    with pytest.raises(UsageError, match="dry-run shows"):
        a3c.train(env="CartPole-v1", dry_run=True)


def test_errors_of_a_run_keep_their_class(here, monkeypatch):
    (here / "run").mkdir()
    lock = RunLock(here / "run")
    told = outcome(arguments({**QUICK, "workers": 0, "run_dir": "run"}))
    lock.release()
    assert told["error"] == "RunDirectoryInUse"
    program = f"import os, sys; os.write(int(sys.argv[3]), {json.dumps(told).encode()!r})"
    monkeypatch.setattr("a3c.api.train._PROGRAM", program)
    with pytest.raises(RunDirectoryInUse) as raised:
        a3c.train()
    assert str(raised.value) == told["message"]


def test_an_environment_of_this_process_alone_is_told_from_one_that_is_not_there(monkeypatch):
    with pytest.raises(UsageError) as raised:
        find(EnvConfig(env="OnlyHere-v0"))
    assert not_there(str(raised.value), "OnlyHere-v0") == ""
    monkeypatch.setitem(gymnasium.registry, "OnlyHere-v0", gymnasium.registry["CartPole-v1"])
    assert not_there(str(raised.value), "OnlyHere-v0").endswith("take env='module:OnlyHere-v0'")
    assert not_there("--env OnlyHere-v0 cannot be made like this", "OnlyHere-v0") == ""


def test_a_module_that_trains_when_it_is_imported_is_told_to_guard_itself(here):
    code = """
import a3c, gymnasium
gymnasium.register("Mine-v0", "gymnasium.envs.classic_control:CartPoleEnv")
try:
    a3c.train(env="mine:Mine-v0", workers=0, max_steps=100)
except a3c.A3CError as error:
    print(error)
    raise SystemExit(0 if __name__ == "__main__" else 1)
"""
    with Script(here, code) as script:
        assert 'put the call under if __name__ == "__main__"' in script.end()


def test_a_training_that_dies_says_so(here, capsys, monkeypatch):
    monkeypatch.setattr(
        "a3c.api.train._PROGRAM", "import os; print('last', flush=True); os.kill(os.getpid(), 9)"
    )
    with pytest.raises(a3c.A3CError, match="main process ended by signal 9"):
        a3c.train()
    assert capsys.readouterr().out == "last\n"
