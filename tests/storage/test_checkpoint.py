"""Checkpoints in good order: what is written is what is read, kept, found and fits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from a3c.errors import CheckpointError
from a3c.storage.checkpoint import (
    Checkpoint,
    DamagedCheckpoint,
    check_compatible,
    read_checkpoint,
)
from a3c.storage.shelf import (
    newest_checkpoint,
    write_checkpoint,
)
from tests.storage.samples import ENV, NETWORK, make, names, same


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

    @pytest.mark.parametrize("umask", [0, 0o777])
    def test_f80_modes_do_not_depend_on_the_umask(self, tmp_path: Path, umask: int) -> None:
        old = os.umask(umask)
        try:
            path = write_checkpoint(tmp_path, make(), 1)
        finally:
            os.umask(old)
        assert path.stat().st_mode & 0o777 == 0o700
        assert {p.stat().st_mode & 0o777 for p in path.iterdir()} == {0o600}

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
