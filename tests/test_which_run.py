"""Every command that names no run means the same one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from a3c.cli import main
from a3c.errors import A3CError
from a3c.storage.checkpoint import Checkpoint
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG, STATUS
from a3c.storage.shelf import write_checkpoint
from a3c.trained.find import Trained
from tests.storage.runs import make_run

ENV = {"env": "FrozenLakeLevels-v0", "algo": "dqn"}
KIND = ["--env", ENV["env"], "--algo", ENV["algo"]]


class Chosen(A3CError):
    """Ends a command once it is plain which agent it would play."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Runs with the youngest checkpoint, the youngest start, that ran last, and without a checkpoint."""

    def rebuild(trained: Trained, *_: Any, **__: Any) -> None:
        raise Chosen(str(trained.run_dir))

    monkeypatch.chdir(tmp_path)
    for module in ("evaluators.sharing.packing", "evaluators.scoring.score", "a3c.trained.find"):
        monkeypatch.setattr(f"{module}.rebuild", rebuild)
    paths = [make_run(Path("checkpoints"), **ENV) for _ in range(4)]
    times = {  # of the start, the status, the checkpoint
        paths[0]: (1000, 1000, 5000),
        paths[1]: (2000, 2000, 2000),
        paths[2]: (1500, 3000, 1500),
        paths[3]: (100, 200, None),
    }
    config = {"optim": {"max_lag": 0}}
    state = {
        "env": {"env_id": ENV["env"]}, "counters": {"env_steps": 7}, "config": config, "algo": ENV["algo"],
        "network": {}, "elapsed_s": 1.0, "best": None, "agent": {}, "resumes": 0,
    }  # fmt: skip
    for path, (started, ran, saved) in times.items():
        write_json(path / STATUS, {"state": "stopped", "run_dir": str(path), "steps": 7})
        if saved:
            folder = write_checkpoint(path, Checkpoint({"w": torch.zeros(1)}, state), 7)
            os.utime(folder, (saved, saved))
        os.utime(path / CONFIG, (started, started))
        os.utime(path / STATUS, (ran, ran))
    return paths


COMMANDS: dict[str, Callable[[], int]] = {
    "load": lambda: main(["run", *KIND, "--load", "--dry-run"]),
    "status": lambda: main(["status", "--json"]),
    "stop": lambda: main(["stop"]),
    "restart-worker": lambda: main(["restart-worker", "0"]),
    "eval": lambda: main(["eval"]),
    "play": lambda: main(["play", "--watch", "--window"]),
    "package": lambda: main(["package", "--out", "package"]),
    "levels": lambda: main(["levels"]),
    "plot": lambda: main(["plot"]),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("newest", [2, 1])
def test_all_commands_mean_the_same_run(
    runs: list[Path], command: str, newest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    if newest == 1:
        write_json(runs[1] / STATUS, {"state": "finished", "run_dir": str(runs[1]), "steps": 8})
    with suppress(SystemExit):
        COMMANDS[command]()
    told = "".join(capsys.readouterr())
    named = [path.name for path in runs if f"{path.name} " in re.sub(r"[/\"\s]", " ", told)]
    assert named == [runs[newest].name], told


def test_a_run_without_checkpoints_is_only_for_looking_at(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(runs[3] / STATUS, {"state": "failed", "run_dir": str(runs[3])})
    assert COMMANDS["status"]() == 0
    assert json.loads(capsys.readouterr().out)["run_dir"] == str(runs[3])
    assert COMMANDS["load"]() == 0
    assert json.loads(capsys.readouterr().out)["run"]["run_dir"] == str(runs[2])
