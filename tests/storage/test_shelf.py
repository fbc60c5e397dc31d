"""Which checkpoints a run has: what stays, what is found, what is set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from a3c.errors import CheckpointError, StorageError
from a3c.storage.checkpoint import Checkpoint, read_checkpoint
from a3c.storage.shelf import (
    best_checkpoint,
    clean,
    entries,
    newest_checkpoint,
    prune,
    rewind,
    write_checkpoint,
)
from tests.storage.samples import make, names, same


class TestRetention:
    def test_a_step_written_again_leaves_the_first_alone(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, make(1), 5)
        assert write_checkpoint(tmp_path, make(2), 5).name == "ckpt-000000005-2"
        assert write_checkpoint(tmp_path, make(3), 5).name == "ckpt-000000005-3"
        found = newest_checkpoint(tmp_path)
        assert found is not None
        assert same(found[1], make(3))
        prune(tmp_path, 2)
        assert names(tmp_path) == ["ckpt-000000005-3"]
        assert write_checkpoint(tmp_path, make(4), 5).name == "ckpt-000000005-4"

    def test_keeps_the_newest_and_the_best(self, tmp_path: Path) -> None:
        for step in (999_999_999, 5, 2_000_000_000_000, 40, 300):
            write_checkpoint(tmp_path, make(), step)
        for step in (5, 40):
            write_checkpoint(tmp_path, make(), step, "best")
        prune(tmp_path, 2)
        assert names(tmp_path) == ["best-000000040", "ckpt-2000000000000", "ckpt-999999999"]
        prune(tmp_path, 2)
        assert len(names(tmp_path)) == 3

    def test_deletes_nothing_while_the_newest_is_damaged(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for step in range(1, 6):
            path = write_checkpoint(tmp_path, make(), step)
        (path / "state.json").unlink()
        prune(tmp_path, 2)
        assert len(names(tmp_path)) == 5
        assert "older checkpoints are kept" in caplog.text

    def test_leaves_other_things_alone(self, tmp_path: Path) -> None:
        others = [
            "ckpt-12",
            "ckpt-000000001.bak",
            "corrupt-ckpt-000000001",
            "best-x",
            "notes.txt",
            "ckpt-000000001-x",
        ]
        for name in others:
            (tmp_path / name).mkdir()
        for step in range(4):
            write_checkpoint(tmp_path, make(), step)
        prune(tmp_path, 1)
        clean(tmp_path)
        assert names(tmp_path) == sorted([*others, "ckpt-000000003"])

    def test_needs_one_to_keep(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="at least one"):
            prune(tmp_path, 0)

    def test_clean_removes_leftovers_only(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, make(), 1)
        (tmp_path / ".tmp-ckpt-000000002-ab").mkdir()
        (tmp_path / ".tmp-ckpt-000000002-ab" / "model.safetensors").write_bytes(b"half")
        (tmp_path / ".tmp-link").symlink_to(tmp_path / "ckpt-000000001")
        clean(tmp_path)
        assert names(tmp_path) == ["ckpt-000000001"]
        assert same(read_checkpoint(tmp_path / "ckpt-000000001"), make())


class TestFinding:
    def test_none_when_none_was_ever_written(self, tmp_path: Path) -> None:
        assert newest_checkpoint(tmp_path) is None
        assert best_checkpoint(tmp_path) is None

    def test_newest_and_best_are_told_apart(self, tmp_path: Path) -> None:
        for step in (1, 10, 2):
            write_checkpoint(tmp_path, make(step), step)
        write_checkpoint(tmp_path, make(4), 4, "best")
        newest, best = newest_checkpoint(tmp_path), best_checkpoint(tmp_path)
        assert newest is not None
        assert best is not None
        assert newest[0].name == "ckpt-000000010"
        assert same(newest[1], make(10))
        assert best[0].name == "best-000000004"
        assert same(best[1], make(4))

    def test_f21_a_damaged_newest_is_set_aside(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for step in (1, 2, 3):
            write_checkpoint(tmp_path, make(step), step)
        for step in (2, 3):
            (tmp_path / f"ckpt-00000000{step}" / "model.safetensors").write_bytes(b"")
        found = newest_checkpoint(tmp_path)
        assert found is not None
        assert same(found[1], make(1))
        assert names(tmp_path) == ["ckpt-000000001", "corrupt-ckpt-000000002", "corrupt-ckpt-000000003"]
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
        assert "ckpt-000000001 is used" in caplog.text

    def test_names_of_what_was_set_aside_never_collide(self, tmp_path: Path) -> None:
        for _ in range(3):
            write_checkpoint(tmp_path, make(1), 1)
            (write_checkpoint(tmp_path, make(2), 2) / "MANIFEST.json").unlink()
            assert newest_checkpoint(tmp_path) is not None
        assert len([name for name in names(tmp_path) if name.startswith("corrupt-ckpt-000000002")]) == 3

    def test_a_looker_changes_nothing(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, make(1), 1)
        (write_checkpoint(tmp_path, make(2), 2) / "MANIFEST.json").unlink()
        found = newest_checkpoint(tmp_path, set_aside=False)
        assert found is not None
        assert found[0].name == "ckpt-000000001"
        assert names(tmp_path) == ["ckpt-000000001", "ckpt-000000002"]

    def test_p1_never_a_silent_start_from_scratch(self, tmp_path: Path) -> None:
        path = write_checkpoint(tmp_path, make(1), 1)
        (path / "MANIFEST.json").unlink()
        for _ in range(2):  # asking again gives the same answer
            with pytest.raises(CheckpointError, match="no sound checkpoint is left"):
                newest_checkpoint(tmp_path)
            assert names(tmp_path) == ["ckpt-000000001"]
        path.rename(tmp_path / "corrupt-ckpt-000000001")
        with pytest.raises(CheckpointError, match="no sound checkpoint is left"):
            newest_checkpoint(tmp_path)

    def test_a_missing_run_is_a_storage_error(self, tmp_path: Path) -> None:
        with pytest.raises(StorageError, match="moved or deleted"):
            newest_checkpoint(tmp_path / "gone")

    def test_pruned_while_being_read(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The trainer goes on while eval.py looks."""
        write_checkpoint(tmp_path, make(1), 1)

        def pruning_read(path: Path) -> Checkpoint:
            if path.name == "ckpt-000000001" and len(entries(tmp_path)) == 1:
                write_checkpoint(tmp_path, make(2), 2)
                prune(tmp_path, 1)
            return read_checkpoint(path)

        monkeypatch.setattr("a3c.storage.shelf.read_checkpoint", pruning_read)
        found = newest_checkpoint(tmp_path, set_aside=False)
        assert found is not None
        assert same(found[1], make(2))

    def test_rewind_makes_an_earlier_one_the_newest(self, tmp_path: Path) -> None:
        for step in (1, 2, 2, 3):
            write_checkpoint(tmp_path, make(step), step)
        for step in (1, 3):
            write_checkpoint(tmp_path, make(step), step, "best")
        moved = rewind(tmp_path, tmp_path / "ckpt-000000002")
        assert sorted(path.name for path in moved) == [
            "aside-best-000000003",
            "aside-ckpt-000000002-2",
            "aside-ckpt-000000003",
        ]
        newest, best = newest_checkpoint(tmp_path), best_checkpoint(tmp_path)
        assert newest is not None
        assert best is not None
        assert (newest[0].name, best[0].name) == ("ckpt-000000002", "best-000000001")

    def test_rewind_to_a_best_one_leaves_no_way_to_start_from_scratch(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, make(1), 1, "best")
        write_checkpoint(tmp_path, make(3), 3)
        rewind(tmp_path, tmp_path / "best-000000001")
        with pytest.raises(CheckpointError, match="aside-ckpt-000000003"):
            newest_checkpoint(tmp_path)

    def test_rewind_needs_a_checkpoint(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="not named like a checkpoint"):
            rewind(tmp_path, tmp_path / "logs")
