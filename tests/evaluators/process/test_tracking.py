"""Curves at Weights & Biases. Those marked `track` use the real library, as `make track` installs it."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import psutil
import pytest

from a3c.cli import main
from a3c.training.process_team import children
from evaluators.process.evaluator import run_evaluator
from evaluators.process.tracking import Tracker
from tests.evaluators.fakes import make_session
from tests.run_tools import TINY, Run, gone, wait_for

NEVER_READS = (sys.executable, "-c", "import time; print('a word', flush=True); time.sleep(600)")
ENDS = (sys.executable, "-c", "print('no such project'); input(), input()")
"""Once it was told what it is for, and a point."""


def make_tracker(folder: Path, warn: Callable[[str], Any], **more: Any) -> Tracker:
    about = {"project": "a3c", "id": "0a1b2c3d", "name": "run", "dir": str(folder), "config": {}}
    return Tracker(about, warn, **{"patience_s": 0.0, **more})


def test_f88_a_writer_that_never_reads_is_not_waited_for(tmp_path: Path, wait_until: Any) -> None:
    warnings: list[str] = []
    tracker = make_tracker(tmp_path, warnings.append, command=NEVER_READS)
    for step in range(200):
        tracker.add_scalars({"train/x": 1.0, "y" * 990: 2.0}, step)
    assert (tracker.error, tracker.dropped > 100) == ("nobody reads it", True)
    wait_until(lambda: tracker.add_scalars({"train/x": 1.0}, 200) or warnings)
    writer = psutil.Process(tracker._writer.pid)
    tracker.close()
    assert gone([writer])
    assert warnings == ["a word"]


def test_f88_a_writer_that_ends_is_started_again_after_a_pause(tmp_path: Path, wait_until: Any) -> None:
    warnings, now = list[str](), [0.0]
    tracker = make_tracker(tmp_path, warnings.append, command=ENDS, clock=lambda: now[0])
    wait_until(lambda: tracker.add_scalars({"train/x": 1.0}, 1) or tracker.error == "Broken pipe")
    lost = tracker.dropped
    tracker.add_scalars({"train/x": 1.0}, 2)
    assert tracker.dropped == lost + 1
    now[0] = 1000.0
    tracker.add_scalars({"train/x": 1.0}, 3)
    assert (tracker.dropped, tracker.error) == (lost + 1, "")
    tracker.close()
    assert warnings == ["no such project"]


def test_f88_a_link_in_the_place_of_its_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "wandb").symlink_to(tmp_path / "elsewhere")
    tracker = make_tracker(tmp_path, pytest.fail)
    tracker.add_scalars({"train/x": 1.0}, 1)
    tracker.close()
    assert "link" in tracker.error


def test_without_wandb_it_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb").mkdir()  # as the library leaves behind; it is no library
    monkeypatch.setattr("importlib.util.find_spec", lambda name: PathFinder.find_spec(name, [str(tmp_path)]))
    assert main(["run", "--env", "CartPole-v1", "--track"]) == 2
    assert 'error: --track needs wandb: pip install "a3c[track]"' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["wandb"]


@pytest.mark.parametrize("name", ["", "a/b", "x" * 101, "a b"])
def test_names_that_no_project_has(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--env", "CartPole-v1", "--track-project", name, "--dry-run"]) == 2
    assert "--track-project has 1 to 100 letters" in capsys.readouterr().err


def test_the_key_is_for_the_evaluator_alone_and_only_with_track(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "canary")
    for track in (True, False):
        session = make_session(tmp_path, workers=1, track=track)
        evaluator, worker = children(session, run_evaluator)
        assert ("WANDB_API_KEY" in evaluator.environ, worker.environ) == (track, {})


# -- with the library ---------------------------------------------------------------------------------

TRACKED = [*TINY, "--env", "CartPole-v1", "--workers", "1", "--eval-every", "1", "--grace", "120", "--track"]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    return {"WANDB_MODE": "offline", "HOME": str(tmp_path), "WANDB_API_KEY": ""}


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, a log in the form of LevelDB's with a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (room := 32_768 - at % 32_768) < 7:
            at += room
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(record)
            record = b""


def points(path: Path) -> list[dict[str, float]]:
    """What was logged, by call."""
    rows = [r.history.item for r in records(path) if r.WhichOneof("record_type") == "history"]
    return [{item.nested_key[0]: json.loads(item.value_json) for item in row} for row in rows]


def kept(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))


def writers(run: Run) -> list[psutil.Process]:
    """The writer of a run and wandb's own process."""
    found = []
    for process in run.family():
        with suppress(psutil.Error):
            if "wandb" in " ".join(process.cmdline()):
                found.append(process)
    return found


def curve(run_dir: Path, tag: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(e.step, e.value) for e in EventAccumulator(str(run_dir)).Reload().Scalars(tag)]


def a_start(folder: Path, offline: dict[str, str], *flags: str) -> Path:
    """One start of a run, stopped when some points are kept; returns the file that holds them."""
    with Run(folder, *flags, env=offline) as run:
        former = kept(run.path)
        run.wait_until(lambda s: (new := kept(run.path)[len(former) :]) and len(points(new[0])) > 3)
        helpers = writers(run)
        run.signal(signal.SIGTERM)
        assert run.end() == 0
    wait_for(lambda: gone(helpers), what="the end of wandb's processes")
    assert len(helpers) == 2
    return kept(run.path)[-1]


@pytest.mark.track
def test_an_offline_run_has_the_curves_of_tensorboard_and_goes_on_after_a_resume(
    tmp_path: Path, offline: dict[str, str]
) -> None:
    files, run_dir = [a_start(tmp_path, offline, *flags) for flags in (TRACKED, ["--load"])], tmp_path / "run"
    assert "Biases" not in (run_dir / "logs" / "main.log").read_text()
    run_id = json.loads((run_dir / "config.json").read_text())["run_id"]
    assert [file.name for file in files] == [f"run-{run_id}.wandb"] * 2
    for tag in ("train/entropy", "eval/score_mean"):
        sent = [(int(p["env_steps"]), p[tag]) for file in files for p in points(file) if tag in p]
        shown = curve(run_dir, tag)
        assert [step for step, _ in sent] == [step for step, _ in shown] == sorted({step for step, _ in sent})
        assert [value for _, value in sent] == pytest.approx([value for _, value in shown], rel=1e-5), tag
    assert not [path for path in (files[0], files[0].parent) if path.stat().st_mode & 0o77]


@pytest.mark.track
def test_f88_its_processes_end_with_a_killed_evaluator_and_with_a_killed_run(
    tmp_path: Path, offline: dict[str, str]
) -> None:
    with Run(tmp_path, *TRACKED, env=offline) as run:
        status = run.wait_until(lambda s: len(writers(run)) == 2 and s)
        first = writers(run)
        os.kill(status["evaluator"]["pid"], signal.SIGKILL)
        wait_for(lambda: gone(first), what="the end of the first writer")
        run.wait_until(lambda s: len(writers(run)) == 2)
        second = writers(run)
        run.signal(signal.SIGKILL)
        wait_for(lambda: gone(second), what="the end of the second writer")


@pytest.mark.track
def test_f88_a_dead_network_costs_the_sending_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "2")
    warnings: list[str] = []
    tracker = make_tracker(tmp_path, warnings.append, patience_s=30.0)
    begin = time.monotonic()
    for step in range(10):
        tracker.add_scalars({"train/x": 0.5}, step)
    wait_for(lambda: tracker.add_scalars({"train/y": 1.0}, 10) or warnings, what="a word about the network")
    tracker.close()
    assert "does not take the curves" in warnings[0]
    assert (tracker.error, tracker.dropped) == ("", 0)
    (file,) = kept(tmp_path)
    assert [p["env_steps"] for p in points(file)][:10] == list(range(10)), time.monotonic() - begin
