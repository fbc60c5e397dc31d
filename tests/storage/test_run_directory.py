"""What a run directory holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from a3c.errors import StorageError
from a3c.storage.find_run import choose_config
from a3c.storage.open_run import open_run
from a3c.storage.run_directory import RunDirectory, read_status
from tests.storage.runs import COMMAND, make_run, settings


class TestStatus:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[RunDirectory]:
        with open_run(tmp_path, settings(), COMMAND) as run:
            yield run

    def test_status(self, run: RunDirectory) -> None:
        assert read_status(run.path) is None
        assert run.write_status({"state": "running", "eta_s": float("inf")})
        assert read_status(run.path) == {"state": "running", "eta_s": None}

    def test_f28_a_status_that_cannot_be_written_does_not_stop_the_run(self, run: RunDirectory) -> None:
        (run.path / ".status.json.tmp").mkdir()
        assert not run.write_status({"state": "running"})
        assert run.status_error == "Is a directory"
        run.check()
        (run.path / ".status.json.tmp").rmdir()
        assert run.write_status({"state": "running"})
        assert run.status_error == ""

    @pytest.mark.parametrize("change", ["moved", "deleted", "replaced"])
    def test_f81_a_run_leaves_a_folder_alone_that_is_not_its_own(
        self, run: RunDirectory, tmp_path: Path, change: str
    ) -> None:
        run.check()
        run.path.rename(tmp_path / "moved")
        if change == "deleted":
            shutil.rmtree(tmp_path / "moved")
        elif change == "replaced":
            run.path.mkdir()
        with pytest.raises(StorageError, match="no longer this run's folder"):
            run.check()
        assert not run.write_status({"state": "failed"})
        assert not run.path.exists() or os.listdir(run.path) == []
        run.close()
        assert not run.path.exists() or os.listdir(run.path) == []

    def test_a_damaged_status_is_none(self, run: RunDirectory) -> None:
        (run.path / "status.json").write_text("{")
        assert read_status(run.path) is None


class TestRefusedStarts:
    """F86: nothing stays of a start that was refused before it began."""

    @pytest.mark.parametrize("run_dir", ["", "a/b/mine"])
    def test_f86_nothing_is_left(self, tmp_path: Path, run_dir: str) -> None:
        config = settings(run_dir=str(tmp_path / run_dir) if run_dir else "")
        with open_run(tmp_path / "checkpoints", config, COMMAND) as run:
            run.write_status({"state": "failed"})
            (run.path / "logs").mkdir()
            (run.path / "logs" / "main.log").touch()
        assert os.listdir(tmp_path) == []

    def test_f86_what_was_there_before_stays(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").touch()
        with open_run(tmp_path, settings(run_dir=str(tmp_path)), COMMAND) as run:
            run.write_status({"state": "failed"})
        assert os.listdir(tmp_path) == ["notes.txt"]

    def test_f86_a_continued_run_stays_as_it_was(self, tmp_path: Path) -> None:
        path = make_run(tmp_path, (1,))
        before = (path / "config.json").read_bytes()
        with open_run(tmp_path, choose_config(tmp_path, {"load": str(path), "lr": "0.5"}), COMMAND):
            pass
        assert (path / "config.json").read_bytes() == before
        assert (path / "ckpt-000000001").exists()
