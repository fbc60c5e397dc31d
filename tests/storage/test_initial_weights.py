"""Weights from elsewhere: loaded where it is plain what is meant, else it is said what is there."""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from a3c.errors import CheckpointError
from a3c.storage.initial_weights import load_initial_weights
from a3c.storage.shelf import write_checkpoint
from a3c.storage.tensor_files import Tensors, encode_tensors
from tests.storage.samples import NETWORK, make
from tests.storage.test_checkpoint_faults import archive_of, reseal, tensors_in


def load(path: Path, wanted: dict[str, Any] = NETWORK) -> Tensors:
    return load_initial_weights(path, wanted, {})


def test_from_a_checkpoint(tmp_path: Path) -> None:
    weights = load(write_checkpoint(tmp_path, make(3), 1))
    assert torch.equal(weights["weight"], make(3).model["weight"])


def test_from_a_safetensors_file(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, make(3), 1) / "model.safetensors"
    assert torch.equal(load(path)["weight"], make(3).model["weight"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_from_a_state_dict_saved_by_torch(tmp_path: Path, legacy: bool, wrapped: bool) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    saved = module.state_dict()
    path = tmp_path / "weights.dat"
    torch.save({"state_dict": saved} if wrapped else saved, path, _use_new_zipfile_serialization=not legacy)
    weights = load(path, {name: tuple(tensor.shape) for name, tensor in saved.items()})
    assert weights.keys() == saved.keys()
    assert all(torch.equal(weights[name], saved[name]) for name in saved)


def test_parameters_and_views_come_out_as_plain_tensors(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(OrderedDict(a=torch.nn.Parameter(torch.arange(6.0).view(2, 3).t())), path)
    weight = load(path, {"a": (3, 2)})["a"]
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
def test_refuses_other_content(tmp_path: Path, content: object) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"holds no weights that can be loaded: \S+") as caught:
        load(path)
    assert "weights_only" not in str(caught.value)


def test_a_run_directory_or_nothing(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, make(), 1)
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="No such file"):
        load(tmp_path / "none.pt")


WEIGHTS = make(3).model


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module.module.", "model."])
def test_f85_a_prefix_of_all_names_is_taken_for_what_it_is(tmp_path: Path, prefix: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    named = {prefix + name: tensor for name, tensor in WEIGHTS.items()}
    if suffix == ".pt":
        torch.save(named, path)
    else:
        path.write_bytes(encode_tensors(named))
    assert all(torch.equal(load(path)[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    "saved",
    [
        {"model_state_dict": WEIGHTS, "epoch": 3, "optimizer_state_dict": {"state": {}, "param_groups": []}},
        {"state_dict": WEIGHTS, "target": WEIGHTS},
        {"model": {f"module.{name}": tensor for name, tensor in WEIGHTS.items()}, "args": {"lr": 0.1}},
        {"agent": WEIGHTS, "steps": 10},
        {"state_dict": WEIGHTS, "seen": {1, 2}, "name": b"x"},
    ],
)
def test_f85_the_weights_of_a_trainings_checkpoint(tmp_path: Path, saved: dict[str, Any]) -> None:
    torch.save(saved, tmp_path / "weights.pt")
    assert all(torch.equal(load(tmp_path / "weights.pt")[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"actor": WEIGHTS, "critic": WEIGHTS}, "several state dicts (actor, critic)"),
        (
            {"weight": torch.zeros(6, 3), "bias": torch.zeros(6)},
            "weight is [6, 3], not [2, 3]; bias is [6]",
        ),
        (
            {"fc.weight": torch.zeros(2, 3), "fc.bias": torch.zeros(2)},
            "weight is missing; bias is missing; fc.",
        ),
        ({f"layer{i}": torch.zeros(1) for i in range(50)}, "; and 46 more"),
        (
            {"epoch": 3, "w": torch.zeros(1)},
            "'epoch' is not a tensor with a name but int; beside",
        ),
    ],
)
def test_f85_else_it_is_said_what_is_there(tmp_path: Path, saved: dict[str, Any], words: str) -> None:
    torch.save(saved, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "weights.pt")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_optional_may_be_missing_or_there(tmp_path: Path) -> None:
    path, optional = tmp_path / "weights.pt", {"bias": torch.ones(2)}
    torch.save({"module.weight": WEIGHTS["weight"]}, path)
    assert torch.equal(load_initial_weights(path, NETWORK, optional)["bias"], torch.ones(2))
    torch.save(WEIGHTS, path)
    assert torch.equal(load_initial_weights(path, NETWORK, optional)["bias"], WEIGHTS["bias"])


def load_partly(path: Path) -> Tensors:
    fresh = {name: torch.full(shape, 9.0) for name, shape in NETWORK.items()}
    return load_initial_weights(path, NETWORK, {}, fresh)


def test_what_fits_is_taken_and_the_rest_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "weights.pt"
    saved = {"weight": WEIGHTS["weight"], "bias": torch.zeros(5), "more": torch.zeros(1)}
    torch.save({f"module.{name}": tensor for name, tensor in saved.items()}, path)
    weights = load_partly(path)
    assert torch.equal(weights["weight"], WEIGHTS["weight"])
    assert torch.equal(weights["bias"], torch.full((2,), 9.0))
    assert weights.keys() == NETWORK.keys()
    assert caplog.messages == [
        f"1 of {len(NETWORK)} tensors are of {path}, the others fresh: "
        "more is not known; bias is [5], not [2]"
    ]


def test_all_that_fits_is_taken_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(WEIGHTS, tmp_path / "weights.pt")
    weights = load_partly(tmp_path / "weights.pt")
    assert all(torch.equal(weights[name], WEIGHTS[name]) for name in NETWORK)
    assert not caplog.messages


def test_a_file_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(1), "other": torch.zeros(1)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="other weights than this network has: bias is missing"):
        load_partly(tmp_path / "weights.pt")


def test_a_link_that_a_person_names_is_followed(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "there.pt")
    (tmp_path / "here.pt").symlink_to("there.pt")
    assert torch.equal(load(tmp_path / "here.pt")["bias"], WEIGHTS["bias"])


@pytest.mark.parametrize(
    ("value", "words"),
    [(torch.tensor(float("nan")), "not finite"), (torch.tensor(1j), "holds torch.complex64 numbers")],
)
def test_f31_weights_that_nothing_can_be_learned_from_are_refused(
    tmp_path: Path, value: torch.Tensor, words: str
) -> None:
    path = tmp_path / "odd.safetensors"
    odd = {name: value.expand(shape).clone() for name, shape in NETWORK.items()}
    path.write_bytes(encode_tensors(odd))
    with pytest.raises(CheckpointError, match=words):
        load(path)


def test_f89_records_are_found_by_their_names_alone(tmp_path: Path) -> None:
    """torch does not look at the case of a name, and takes the last of several; here there is one."""
    pickled = tensors_in(b"a")
    for names, sound in [(["w/data/a"], True), (["w/data/A"], False), (["w/data/a", "x/data.pkl"], False)]:
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("w/data.pkl", pickled)
            for name in names:
                archive.writestr(name, bytes(28))
        if sound:
            assert torch.equal(load(tmp_path / "w.pt", {"a": (7,)})["a"], torch.zeros(7))
        else:
            with pytest.raises(CheckpointError, match="not a state dict saved by torch"):
                load(tmp_path / "w.pt")


def test_f89_a_state_dict_as_python_2_wrote_it(tmp_path: Path) -> None:
    item = tensors_in(b"0").removeprefix(b"\x80\x02}(").removesuffix(b"u.")
    pickled = b"\x80\x02ccollections\nOrderedDict\n]](" + item + b"ea\x85R."
    (tmp_path / "w.pt").write_bytes(archive_of(pickled))
    assert torch.equal(load(tmp_path / "w.pt", {"0": (7,)})["0"], torch.zeros(7))


KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@pytest.mark.parametrize("legacy", [False, True])
def test_f89_what_is_read_is_what_torch_reads(tmp_path: Path, legacy: bool) -> None:
    numbers = torch.randn(60, generator=torch.Generator().manual_seed(1))
    saved = {str(kind): numbers.to(kind) for kind in KINDS}
    saved |= {"view": numbers[7:27].view(4, 5).t(), "scalar": numbers[3], "every second": numbers[::2]}
    saved |= {"empty": torch.zeros(0, 3), "one": torch.nn.Parameter(numbers[:1])}
    torch.save(saved, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    read = torch.load(tmp_path / "w.pt", weights_only=True)
    loaded = load(tmp_path / "w.pt", {name: tuple(tensor.shape) for name, tensor in saved.items()})
    for name, tensor in read.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.uint16])
def test_f89_numbers_that_are_no_weights_are_one_line(tmp_path: Path, suffix: str, kind: torch.dtype) -> None:
    path, odd = tmp_path / f"w{suffix}", {"weight": torch.zeros(2, 3).to(kind)}
    if suffix == ".pt":
        torch.save(odd, path)
    else:
        path.write_bytes(encode_tensors(odd))
    with pytest.raises(CheckpointError, match=r"'weight' holds torch\.\w+ numbers; weights are float32"):
        load(path)


def test_f89_a_checkpoint_of_such_numbers_is_damaged(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path, make(3), 1)
    odd = {name: tensor.to(torch.float8_e4m3fn) for name, tensor in make(3).model.items()}
    (path / "model.safetensors").write_bytes(encode_tensors(odd))
    reseal(path)
    with pytest.raises(CheckpointError, match="holds torch\\.float8_e4m3fn numbers"):
        load(path)
