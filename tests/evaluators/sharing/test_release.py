"""Releasing an agent: only one that was trained as released.toml says, with all of it on its card."""

from __future__ import annotations

import json
import math

import pytest
import torch

from a3c.cli import main
from a3c.settings.config import Config
from a3c.storage import released
from a3c.storage.package_format import folder, read_package
from a3c.storage.tensor_files import decode_tensors
from evaluators.sharing import packing
from evaluators.sharing.release import differing

FLAGS = "--env CartPole-v1 --workers 0 --max-steps 64 --seed 3"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    assert main(["run", *FLAGS.split(), "--eval-every", "0", "--run-dir", str(home / "run")]) == 0
    place = home / "checkpoints" / "released"
    place.mkdir(parents=True)
    (place / "released.toml").write_text(
        f'[first]\nflags = "{FLAGS}"\ngreedy = true\n\n[other]\nflags = "{FLAGS} --lr 0.5 --gamma 0.5"\n'
    )
    return home


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.setattr(released, "FOLDER", (home / "checkpoints" / "released").resolve())
    monkeypatch.setattr("evaluators.sharing.release.FOLDER", released.FOLDER)
    return released.FOLDER


def package(home, out, *flags):
    return main(["package", "--run", str(home / "run"), "--out", str(out), "--games", "30", *flags])


def test_the_card_says_how_it_was_trained_and_the_weights_are_half_as_large(home, place):
    assert package(home, place / "first", "--half") == 0
    results = json.loads((place / "first" / "results.json").read_text())
    training = results["training"]
    assert training["command"] == f"a3c run {FLAGS}"
    assert training["seed"] == 3
    assert training["processor"]
    assert results["is_deterministic"] is True  # as its recipe says
    card = (place / "first" / "README.md").read_text()
    for words in (training["command"], training["processor"], "released:first", "AGENT=first", "float16"):
        assert words in card
    assert str(home) not in card + json.dumps(results)
    kept = decode_tensors((place / "first" / "model.safetensors").read_bytes())
    assert {tensor.dtype for tensor in kept.values()} == {torch.float16}
    read = read_package(folder(place / "first"), "it").model
    assert {tensor.dtype for tensor in read.values()} == {torch.float32}
    assert all(torch.equal(read[name], kept[name].float()) for name in kept)
    assert results["half"]["format"] == "float16"


def test_what_was_trained_otherwise_is_refused(home, place, capsys):
    assert package(home, place / "other") == 2
    error = capsys.readouterr().err
    assert "was not trained as released.toml says: --gamma 0.99, not 0.5; --lr" in error
    assert not (place / "other").exists()


def test_an_agent_without_a_recipe_is_refused(home, place, capsys):
    assert package(home, place / "third") == 2
    assert "released.toml has no third, only first, other" in capsys.readouterr().err


def test_weights_that_play_otherwise_in_half_are_refused(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(packing, "alike", lambda some, others: False)
    assert package(home, tmp_path / "half", "--half") == 4
    assert "with weights in float16 it scores" in capsys.readouterr().err
    assert not (tmp_path / "half").exists()


def test_what_has_no_weights_has_no_half(tmp_path, capfd):
    flags = f"--env CartPole-v1 --algo random --workers 0 --max-steps 64 --run-dir {tmp_path}/run"
    assert main(["run", *flags.split()]) == 0
    assert package(tmp_path, tmp_path / "half", "--half") == 2
    assert "has no weights to halve" in capfd.readouterr().err


def test_numbers_too_large_for_float16_are_bfloat16():
    weights = {"a": torch.tensor([1.0, 1e6]), "steps": torch.tensor([3])}
    half = packing.in_half(weights)
    assert half["a"].dtype == torch.bfloat16
    assert half["steps"].dtype == torch.int64
    assert packing.in_half({"a": torch.tensor([1.0, 6e4])})["a"].dtype == torch.float16


@pytest.mark.parametrize(
    ("some", "others", "same"),
    [
        ([500.0] * 30, [500.0] * 30, True),
        ([500.0] * 30, [499.0] * 30, False),
        ([1.0, -1.0] * 50, [1.2, -0.8] * 50, True),
        ([1.0, -1.0] * 50, [1.4, -0.6] * 50, False),
    ],
)
def test_scores_are_the_same_within_twice_their_error(some, others, same):
    assert packing.alike(some, others) is same
    error = math.sqrt(2 / 99)  # of the last two: a variance of 100 / 99 each, over 100 games
    assert 0.2 < 2 * error < 0.4


def test_only_what_decides_the_learning_is_compared():
    one = Config()
    assert differing(one, one.replace(run_dir="x", checkpoint_every=5.0, eval_every=0.0, grace=3.0)) == []
    assert differing(one, one.replace(lr=5.0, seed=9)) == ["--lr 0.0001, not 5.0", "--seed 1, not 9"]
