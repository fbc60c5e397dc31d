"""The README and docs/first-ten-minutes.md followed by a newcomer, command by command, in a fresh clone.

`PLAN` says of every command in it what is really run: shortened, or, with the reason, not at all. A command
that is not in the plan fails the first test, and so does one that is no longer in the README.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import pytest

from tests.evaluators.showing.test_play import Player
from tests.run_tools import wait_for

ROOT = Path(__file__).parents[1]
README, TEN_MINUTES = ROOT / "README.md", ROOT / "docs" / "first-ten-minutes.md"

TINY = "--workers 1 --envs-per-worker 2 --max-steps 200 --eval-every 0"
ATARI = f"{TINY} --model a3c-small"  # the large network takes minutes on a busy machine
CARTPOLE = "checkpoints/CartPole-v1-a3c"
PICTURED = "python run.py --env BreakoutNoFrameskip-v4 --lr-schedule linear --entropy-schedule linear"


class Run(NamedTuple):
    """What is run in place of a command of the README, one after the other."""

    commands: tuple[str, ...]
    keys: str = ""  # pressed in its terminal when it is shown; empty: it has none


class Skip(NamedTuple):
    """Why a command is not run here."""

    reason: str


def run(*commands: str, keys: str = "") -> Run:
    return Run(commands, keys)


PLAN: dict[str, Run | Skip] = {
    "git clone <this repository> && cd a3c": Skip("the fixture `clone` does"),
    "make setup": Skip("downloads a gigabyte; the clone borrows the environment of the tests"),
    "PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup": Skip("downloads a gigabyte"),
    ". .venv/bin/activate": Skip("of the shell; the clone's programs are in the path"),
    "python run.py --preset cartpole-ppo": run("python run.py --preset cartpole-ppo"),
    "python eval.py": run("python eval.py --json score.json"),
    "python eval.py --video game.mp4 --num-episodes 1": run(
        "python eval.py --video game.mp4 --num-episodes 1"
    ),
    "a3c plot": run("a3c plot"),
    "tensorboard --logdir checkpoints": Skip("test_tensorboard_browser.py"),
    "make train": run(f'make train ARGS="{TINY}"'),
    f"{PICTURED} --max-steps 4M": run(f"{PICTURED} {ATARI}"),
    "python run.py --env BreakoutNoFrameskip-v4 --load": run(
        "python run.py --env BreakoutNoFrameskip-v4 --load --max-steps 300"
    ),
    "a3c stop": Skip("needs a run that goes on: `test_a_run_in_the_background`"),
    "a3c doctor": run("a3c doctor"),
    "make test": Skip("is what runs this"),
    "python run.py --env Breakout-v0 --workers 8 --gpu-ids 0 1": run(
        f"python run.py --env Breakout-v0 {ATARI}"  # no GPU is needed to run the tests
    ),
    "python run.py --env Qbert-v4 --workers 4 --max-time 8h": run(f"python run.py --env Qbert-v4 {ATARI}"),
    "python run.py --env CartPole-v1": run(
        "python run.py --env CartPole-v1 --workers 1 --max-steps 5000 --eval-every 2 --log-every 0.5",
        "python run.py --env CartPole-v1 --workers 1 --max-steps 8000 --load",
    ),
    "python run.py --env Breakout-v0 --load": run("python run.py --env Breakout-v0 --load --max-steps 300"),
    "python run.py --preset pong-fast": run(f"python run.py --preset pong-fast {TINY}"),
    "python run.py --preset taxi": run("python run.py --preset taxi"),
    "python eval.py --render": run("python eval.py --render --num-episodes 1"),
    "python eval.py --checkpoint checkpoints/Breakout-v0-a3c --num-episodes 100": run(
        "python eval.py --checkpoint checkpoints/Breakout-v0-a3c --num-episodes 2"
    ),
    "a3c run": run(f"a3c run --env CartPole-v1 --algo ppo {TINY}"),
    "a3c eval": run("a3c eval --env CartPole-v1 --num-episodes 3"),
    "a3c status --watch": run("a3c status --watch"),
    "a3c status [RUN] [--watch] [--json]": run("a3c status", f"a3c status {CARTPOLE} --json"),
    "a3c stop [RUN]": Skip("needs a run that goes on: `test_a_run_in_the_background`"),
    "a3c restart-worker [RUN] ID": Skip("needs a run that goes on: `test_a_run_in_the_background`"),
    "a3c list [--json]": run("a3c list", "a3c list --json"),
    "a3c compare RUN RUN": run(f"a3c compare {CARTPOLE} checkpoints/CartPole-v1-ppo"),
    "a3c plot [RUN...]": run(f"a3c plot {CARTPOLE} --out another.png"),
    "a3c tune --space NAME -- FLAGS": run(
        "a3c tune --space a3c --trials 2 --seeds 1 -- --env CartPole-v1 --workers 1 --max-steps 300"
    ),
    "a3c tune": Skip("a name; it is run with its flags"),
    "a3c play": Skip("a name; it is run with its flags"),
    "a3c play --env ID": run("a3c play --env FrozenLakeLevels-v0", keys="q"),
    "a3c play --watch RUN": run(f"a3c play --watch {CARTPOLE}", keys="q"),
    "a3c levels": run(f"a3c run --preset levels-dqn {TINY}", "a3c levels"),
    "a3c package RUN": run(f"a3c package {CARTPOLE} --out package"),
    "a3c push REPO DIR": Skip("needs an account; test_package.py sends to a server of its own"),
    "a3c push": Skip("a name; needs an account, as above"),
    "a3c eval --checkpoint hub:REPO": Skip("needs an account; test_package.py fetches from its own server"),
    "a3c presets": run("a3c presets"),
    "make tmux": Skip("test_tmux.py"),
    "make docs": Skip("test_site.py"),
    "make gpu": Skip("needs a GPU"),
    "pip install -c constraints.txt -e .": Skip("downloads a gigabyte"),
}


def commands_of(*pages: Path) -> list[str]:
    """Every command of the pages, in their order: in code blocks, and in backticks anywhere."""
    text = "\n".join(page.read_text() for page in pages)
    blocks = re.findall(r"^    (\S.*)$", text, re.MULTILINE)
    spans = re.findall(r"`((?:python|a3c|make|pip|tensorboard|git) [^`]+)`", text)
    commands = [re.sub(r"\s+#.*", "", command).strip() for command in (*blocks, *spans)]
    return list(dict.fromkeys(commands))


def test_every_command_of_the_readme_is_in_the_plan():
    unknown = [command for command in commands_of(README, TEN_MINUTES) if command not in PLAN]
    assert not unknown, "say in PLAN how these are run here"


def test_the_ten_minutes_are_those_of_the_readme():
    blocks = [
        re.findall(r"^    (\S.*?)(?:  +#.*)?$", page.read_text(), re.MULTILINE)
        for page in (README, TEN_MINUTES)
    ]
    shown = [command for command in blocks[1] if command != "a3c doctor"]
    first = blocks[0].index("python run.py --preset cartpole-ppo")
    assert shown == blocks[0][first : first + len(shown)]


def test_the_plan_has_nothing_that_left_the_readme():
    assert not PLAN.keys() - set(commands_of(README, TEN_MINUTES))


# ---------------------------------------------------------------------------------------------------
# The hour itself


class Home:
    """A clone, and a shell in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        ours = ("DISPLAY", "WAYLAND_DISPLAY", "PYTHONPATH", "VIRTUAL_ENV", "MAKEFLAGS")
        self.environ = {name: value for name, value in os.environ.items() if name not in ours}
        self.environ["PATH"] = f"{path / '.venv' / 'bin'}:{os.environ['PATH']}"

    def run(self, command: str) -> str:
        """Runs a command to its end, which must be a good one; what it printed."""
        words, start = shlex.split(command), time.monotonic()
        done = subprocess.run(
            words, cwd=self.path, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=400, check=False,
        )  # fmt: skip
        print(f"$ {command}    [{time.monotonic() - start:.0f} s]\n{done.stdout[-2000:]}")
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout[-3000:]}"
        return done.stdout

    def play(self, command: str, keys: str) -> None:
        """Runs `a3c play`, pressing keys in its terminal."""
        flags = shlex.split(command)[2:]
        with Player(self.path, *flags, env={"PYTHONPATH": str(self.path)}) as player:
            player.read("q quits")
            player.press(keys.encode())
            assert player.end() == 0

    def start(self, command: str) -> subprocess.Popen[bytes]:
        """Starts a command that goes on."""
        return subprocess.Popen(
            shlex.split(command), cwd=self.path, env=self.environ, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def points(self, run_dir: str) -> list[list[float]]:
        """The values of the curves of training, each between its first and last step."""
        rows = map(json.loads, (self.path / run_dir / "metrics.jsonl").read_text().splitlines())
        train = [row for row in rows if row["kind"] == "train"]
        return [[row[name] for row in train if row[name] is not None] for name in ("mean_return", "entropy")]

    def status(self, run_dir: str) -> dict:
        return json.loads((self.path / run_dir / "status.json").read_text())


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What a newcomer has after `git clone` and `make setup`; the packages are those of the tests."""
    path = tmp_path_factory.mktemp("newcomer") / "a3c"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(path)], check=True)
    programs = path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in ("bin", ".installed"):
            (path / ".venv" / entry.name).symlink_to(entry)
    for entry in (Path(sys.prefix) / "bin").iterdir():
        if entry.name != "a3c":
            (programs / entry.name).symlink_to(entry)
    (programs / "a3c").write_text('#!/bin/sh\nexec python -m a3c "$@"\n')
    (programs / "a3c").chmod(0o755)
    (path / ".venv" / ".installed").touch()
    return Home(path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_first_hour(clone):
    for text, plan in PLAN.items():
        if isinstance(plan, Run):
            for command in plan.commands:
                said = clone.play(command, plan.keys) if plan.keys else clone.run(command)
            if text == "make train":
                assert re.search(r"a3c with .*\n.*a checkpoint every.*\n.*Ctrl-C.*\nwatch: a3c status", said)
    for points in clone.points("checkpoints/CartPole-v1-ppo"):
        assert len(points) >= 20
    curve = cv2.imread(str(clone.path / "curve.png"))
    assert min(curve.shape[:2]) > 400
    assert cv2.VideoCapture(str(clone.path / "game.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) > 50
    resumed = clone.status(CARTPOLE)
    assert (resumed["state"], resumed["steps"] >= 8000) == ("finished", True)
    levels = list(csv.DictReader((clone.path / "levels.csv").read_text().splitlines()))
    assert [int(level["rank"]) for level in levels] == list(range(1, 11))
    score = json.loads((clone.path / "score.json").read_text())
    assert len(score["scores"]) == 30
    assert score["mean"] > 300  # of cartpole-ppo's best checkpoint; the highest is 500
    changed = subprocess.run(
        ["git", "diff", "--stat"], cwd=clone.path, capture_output=True, text=True, check=True
    )
    assert not changed.stdout  # everything lies where git ignores it, or is new


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_in_the_background(clone):
    run_dir = "checkpoints/background"
    training = clone.start(f"python run.py --env CartPole-v1 --workers 1 --run-dir {run_dir}")
    try:
        path = clone.path / run_dir / "status.json"
        wait_for(lambda: path.exists() and clone.status(run_dir)["steps"] > 100, 120, "training")
        assert "running" in clone.run(f"a3c status {run_dir}")
        clone.run(f"a3c restart-worker {run_dir} 0")
        clone.run(f"a3c stop {run_dir}")
        assert training.wait(300) == 0
    finally:
        training.kill()
        training.wait(300)
    assert list((clone.path / run_dir).glob("ckpt-*"))
