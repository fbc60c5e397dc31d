"""Runs for the tests of this wing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from a3c.settings.config import Config, resolve
from a3c.storage.open_run import open_run

COMMAND = ["run.py", "--env", "CartPole-v1"]


def settings(**given: Any) -> Config:
    return resolve({"env": "CartPole-v1", "preset": "none", **given})


def make_run(root: Path, checkpoints: tuple[int, ...] = (), **given: Any) -> Path:
    """A finished run with (the names of) checkpoints."""
    with open_run(root, settings(**given), COMMAND) as run:
        run.begin()
        for step in checkpoints:
            (run.path / f"ckpt-{step:09d}").mkdir()
    return run.path


def set_age(path: Path, seconds: float) -> None:
    """Makes everything in a run look as if it was written at this time."""
    for child in [path, *path.iterdir()]:
        os.utime(child, (seconds, seconds))
