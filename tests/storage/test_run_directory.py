"""What a run directory holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from a3c.storage.open_run import open_run
from a3c.storage.run_directory import RunDirectory, read_status
from tests.storage.runs import COMMAND, settings


class TestStatus:
    @pytest.fixture
    def run(self, tmp_path: Path) -> Iterator[RunDirectory]:
        with open_run(tmp_path, settings(), COMMAND) as run:
            yield run

    def test_status(self, run: RunDirectory) -> None:
        assert read_status(run.path) is None
        assert run.write_status({"state": "running", "eta_s": float("inf")})
        assert read_status(run.path) == {"state": "running", "eta_s": None}

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
