"""Checkpoints in good order: what is written is what is read, kept, found and fits."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from a3c.errors import CheckpointError, StorageError
from a3c.storage.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    best_checkpoint,
    check_compatible,
    clean,
    entries,
    load_initial_weights,
    newest_checkpoint,
    prune,
    read_checkpoint,
    rewind,
    write_checkpoint,
)

ENV = {"env_id": "CartPole-v1", "num_actions": 2, "observation_shape": [4], "sticky": 0.0}
NETWORK = {"weight": (2, 3), "bias": (2,)}


def make(step: int = 1) -> Checkpoint:
    generator = torch.Generator().manual_seed(step)
    return Checkpoint(
        model={"weight": torch.randn(2, 3, generator=generator), "bias": torch.randn(2, generator=generator)},
        optimizer={"moment": torch.randn(8, generator=generator), "step": torch.tensor(step)},
        agent={"rng": generator.get_state()},
        state={
            "env_steps": step,
            "algo": "a3c",
            "env": ENV,
            "network": {k: list(v) for k, v in NETWORK.items()},
        },
    )


def same(a: Checkpoint, b: Checkpoint) -> bool:
    for part in ("model", "optimizer", "agent"):
        one, other = getattr(a, part), getattr(b, part)
        if set(one) != set(other) or not all(torch.equal(one[name], other[name]) for name in one):
            return False
    return {**a.state, "schema": 1} == {**b.state, "schema": 1}


def names(run_dir: Path) -> list[str]:
    return sorted(os.listdir(run_dir))


class TestWriteAndRead:
    def test_reads_back_bit_for_bit(self, tmp_path: Path) -> None:
        path = write_checkpoint(tmp_path, make(7), step=12345)
        assert path.name == "ckpt-000012345"
        assert names(path) == [
            "MANIFEST.json",
            "agent.safetensors",
            "model.safetensors",
            "optimizer.safetensors",
            "state.json",
        ]
        assert same(read_checkpoint(path), make(7))

    def test_odd_tensors(self, tmp_path: Path) -> None:
        flat = torch.arange(12.0)
        model = {
            "view": flat[2:6],
            "t": flat.view(3, 4).t(),
            "empty": torch.zeros(0, 3),
            "scalar": torch.tensor(2.0),
            "half": torch.ones(3, dtype=torch.bfloat16),
            "same": flat[2:6],
            "shared": torch.ones(2).share_memory_(),
        }
        read = read_checkpoint(write_checkpoint(tmp_path, Checkpoint(model, {}), 1)).model
        for name, tensor in model.items():
            assert torch.equal(read[name], tensor)
            assert read[name].dtype == tensor.dtype
        read["view"] += 1  # private and writable
        assert torch.equal(flat, torch.arange(12.0))

    def test_parts_without_content_have_no_file(self, tmp_path: Path) -> None:
        path = write_checkpoint(tmp_path, Checkpoint({"w": torch.zeros(1)}, {"a": [1, None, "ü"]}), 1, "best")
        assert path.name == "best-000000001"
        assert names(path) == ["MANIFEST.json", "model.safetensors", "state.json"]
        read = read_checkpoint(path)
        assert (read.optimizer, read.agent) == ({}, {})
        assert read.state == {"a": [1, None, "ü"], "schema": 1}

    def test_modes_do_not_depend_on_the_umask(self, tmp_path: Path) -> None:
        old = os.umask(0o077)
        try:
            path = write_checkpoint(tmp_path, make(), 1)
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o755
        assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o644}

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("part", ["model", "optimizer"])
    def test_f31_refuses_numbers_that_are_not_finite(self, tmp_path: Path, part: str, value: float) -> None:
        checkpoint = make()
        getattr(checkpoint, part)["extra"] = torch.tensor([1.0, value])
        with pytest.raises(CheckpointError, match=f"{part} tensor 'extra' is not finite"):
            write_checkpoint(tmp_path, checkpoint, 1)
        assert names(tmp_path) == []

    @pytest.mark.parametrize("value", [float("nan"), {1, 2}, "x" * 2**21])
    def test_refuses_a_state_that_could_not_be_read_back(self, tmp_path: Path, value: object) -> None:
        with pytest.raises(CheckpointError, match=r"no checkpoint was written"):
            write_checkpoint(tmp_path, Checkpoint({"w": torch.zeros(1)}, {"value": value}), 1)
        assert names(tmp_path) == []

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


class TestRetention:
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

        monkeypatch.setattr("a3c.storage.checkpoint.read_checkpoint", pruning_read)
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


class TestFitting:
    def fits(self, **changes: object) -> None:
        wanted = {"env": ENV, "network": NETWORK, "algo": "a3c", **changes}
        check_compatible({**make().state, "schema": 1}, **wanted)  # type: ignore[arg-type]

    def test_the_same_fits(self) -> None:
        self.fits()
        self.fits(env={**ENV, "observation_shape": (4,)})

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"algo": "dqn"}, ["algorithm is a3c, not dqn"]),
            (
                {"env": {**ENV, "env_id": "Acrobot-v1", "num_actions": 3}},
                ["env_id is 'CartPole-v1', not 'Acrobot-v1'", "num_actions is 2, not 3"],
            ),
            ({"env": {**ENV, "frame_cap": 9}}, ["frame_cap is None, not 9"]),
            (
                {"network": {"weight": (2, 4), "lstm": (1,)}},
                ["lstm is missing", "bias is not known", "weight is [2, 3]"],
            ),
            ({"algo": "q", "env": {}, "network": {}}, ["algorithm", "env_id", "bias"]),
        ],
    )
    def test_f25_names_every_difference(self, changes: dict[str, object], words: list[str]) -> None:
        with pytest.raises(CheckpointError, match="does not fit") as caught:
            self.fits(**changes)
        assert all(word in str(caught.value) for word in words)
        assert "--init-from" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_how_fast_a_game_was_shown_does_not_matter(self) -> None:
        older = {**make().state["env"], "frame_rate": 60.0}
        check_compatible({**make().state, "schema": 1, "env": older}, env=ENV, network=NETWORK, algo="a3c")

    @pytest.mark.parametrize(
        "change", [{"env": None}, {"env": [1]}, {"network": None}, {"network": {"weight": 3}}, {"algo": None}]
    )
    def test_f25_a_state_that_does_not_say(self, change: dict[str, object]) -> None:
        with pytest.raises(CheckpointError, match="does not fit"):
            check_compatible({**make().state, "schema": 1, **change}, env=ENV, network=NETWORK, algo="a3c")

    @pytest.mark.parametrize("schema", [2, None, "1"])
    def test_f25_a_newer_layout(self, schema: object) -> None:
        with pytest.raises(CheckpointError, match="newer version"):
            check_compatible({**make().state, "schema": schema}, env=ENV, network=NETWORK, algo="a3c")

    def test_many_differences_stay_one_line(self) -> None:
        with pytest.raises(CheckpointError, match="and 41 more"):
            self.fits(network={f"layer{i}": (1,) for i in range(51)})


class TestInitialWeights:
    def test_from_a_checkpoint(self, tmp_path: Path) -> None:
        weights = load_initial_weights(write_checkpoint(tmp_path, make(3), 1))
        assert torch.equal(weights["weight"], make(3).model["weight"])

    def test_from_a_safetensors_file(self, tmp_path: Path) -> None:
        path = write_checkpoint(tmp_path, make(3), 1) / "model.safetensors"
        assert torch.equal(load_initial_weights(path)["weight"], make(3).model["weight"])

    @pytest.mark.parametrize("legacy", [False, True])
    @pytest.mark.parametrize("wrapped", [False, True])
    def test_from_a_state_dict_saved_by_torch(self, tmp_path: Path, legacy: bool, wrapped: bool) -> None:
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
        saved = module.state_dict()
        path = tmp_path / "weights.dat"
        torch.save(
            {"state_dict": saved} if wrapped else saved, path, _use_new_zipfile_serialization=not legacy
        )
        weights = load_initial_weights(path)
        assert weights.keys() == saved.keys()
        assert all(torch.equal(weights[name], saved[name]) for name in saved)

    def test_parameters_and_views_come_out_as_plain_tensors(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.pt"
        torch.save(OrderedDict(a=torch.nn.Parameter(torch.arange(6.0).view(2, 3).t())), path)
        weight = load_initial_weights(path)["a"]
        assert type(weight) is torch.Tensor
        assert weight.is_contiguous()
        assert not weight.requires_grad

    @pytest.mark.parametrize(
        "content",
        [
            {},
            [torch.zeros(1)],
            torch.zeros(3),
            {"a": 1.0},
            {1: torch.zeros(1)},
            {"a": torch.tensor([float("nan")])},
            {"a": torch.zeros(2, dtype=torch.complex64)},
            {"a": torch.eye(3).to_sparse()},
            {"a": torch.zeros(1).expand(10**9)},
            {"state_dict": {"a": {}}},
        ],
    )
    def test_refuses_other_content(self, tmp_path: Path, content: object) -> None:
        path = tmp_path / "weights.pt"
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"holds no weights that can be loaded: \S+") as caught:
            load_initial_weights(path)
        assert "weights_only" not in str(caught.value)

    def test_a_run_directory_or_nothing(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path, make(), 1)
        with pytest.raises(CheckpointError, match="is no checkpoint"):
            load_initial_weights(tmp_path)
        with pytest.raises(CheckpointError, match="No such file"):
            load_initial_weights(tmp_path / "none.pt")


def test_damage_is_told_from_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of descriptors or memory is no reason to set a sound checkpoint aside."""
    path = write_checkpoint(tmp_path, make(), 1)
    for error in (
        PermissionError(13, "Permission denied"),
        OSError(24, "Too many open files"),
        MemoryError(),
    ):

        def fail(*args: object, error: BaseException = error) -> bytes:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr("a3c.storage.checkpoint.read_regular", fail)
            with pytest.raises(CheckpointError) as caught:
                newest_checkpoint(tmp_path)
            assert not isinstance(caught.value, DamagedCheckpoint)
    assert same(read_checkpoint(path), make())
    assert names(tmp_path) == ["ckpt-000000001"]
