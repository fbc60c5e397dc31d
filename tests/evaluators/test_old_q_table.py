"""Old pickled Q tables: their numbers are taken, nothing in them is run."""

from __future__ import annotations

import codecs
import os
import pickle
import subprocess
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch

from a3c.cli import main
from a3c.errors import CheckpointError
from a3c.storage.tensor_files import load_state_dict
from evaluators.old_q_table import read_plain_pickle, read_q_table

TABLE = np.arange(12, dtype=np.float64).reshape(3, 4) / 7
COURSE = {
    "env_id": "Taxi-v3", "max_steps": 99, "n_eval_episodes": 100, "eval_seed": [16, 54], "learning_rate": 0.7,
    "gamma": 0.95, "deterministic": True, "nothing": None, "qtable": TABLE,
}  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        COURSE, TABLE, TABLE.astype(np.float32), np.asfortranarray(TABLE), TABLE.tolist(),
        {"q_table": TABLE.tolist()},
        {"Q": TABLE, "mean_reward": np.float64(7.5), "std": np.float32(2.5), "n": np.int64(3)},
    ],
    ids=["course", "array", "float32", "fortran", "lists", "dict of lists", "scalars"],
)  # fmt: skip
def test_tables_come_through_every_protocol(value, protocol, tmp_path):
    path = tmp_path / "q-learning.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert read_q_table(path) == pytest.approx(TABLE)


def test_plain_values_are_what_was_pickled():
    value = {**COURSE, "nested": [{"a": (1, 2.5, "x", b"y", -(2**70))}, [], {}, ()]}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        got = read_plain_pickle(pickle.dumps(value, protocol))
        assert got["eval_seed"] == [16, 54]
        assert got["nested"][0]["a"][:3] == (1, 2.5, "x")
        assert got["deterministic"] is True
        assert got["nothing"] is None


class Evil:
    def __reduce__(self):
        return os.system, ("touch pwned",)


class Subtle:
    def __reduce__(self):
        return np.load, ("x",)


class Method:
    def __reduce__(self):
        return getattr, ("x", "upper")


class Process:
    def __reduce__(self):
        return subprocess.Popen, (["touch", "pwned"],)


class Plain:
    pass


class Encoded:
    def __reduce__(self):
        return codecs.encode, ("x", "rot13")


@pytest.mark.parametrize(
    "value",
    [
        Evil(), {"qtable": Evil()}, Subtle(), Method(), Process(), Plain(), Encoded(),
        OrderedDict(qtable=TABLE), defaultdict(list), {"qtable": np.array([Evil(), None], object)},
        np.array(["text"]), {1, 2}, Path("x"), print, np.ndarray, np.zeros(1).dtype, {"other": TABLE},
        [1, [2, 3]], np.zeros(3), np.full((2, 2), np.nan), "text",
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_f24_anything_else_is_refused_and_nothing_is_run(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        try:
            Path("bad.pkl").write_bytes(pickle.dumps(value, protocol))
        except (pickle.PicklingError, TypeError):
            continue
        with pytest.raises(CheckpointError, match=r"bad\.pkl"):
            read_q_table(Path("bad.pkl"))
        assert os.listdir() == ["bad.pkl"]


def test_f24_damaged_files_are_refused(tmp_path):
    path, random = tmp_path / "bad.pkl", np.random.default_rng(0)
    whole = pickle.dumps(COURSE)
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_q_table(path)
    for _ in range(300):  # flipped bits: refused, or other numbers
        data = bytearray(whole)
        data[random.integers(len(data))] ^= 1 << random.integers(8)
        path.write_bytes(data)
        try:
            assert read_q_table(path).ndim == 2
        except CheckpointError:
            continue


def test_the_command_writes_what_init_from_reads(tmp_path, capsys):
    source, out = tmp_path / "q-learning.pkl", tmp_path / "q.safetensors"
    source.write_bytes(pickle.dumps(COURSE))
    assert main(["convert-q-table", str(source), str(out)]) == 0
    assert "3 states and 4 actions" in capsys.readouterr().out
    assert torch.equal(load_state_dict(out)["q"], torch.from_numpy(TABLE.astype(np.float32)))
    source.write_bytes(pickle.dumps(Evil()))
    assert main(["convert-q-table", str(source), str(out)]) == 4
    error = capsys.readouterr().err
    assert "would call" in error
    assert error.count("\n") == 1
    assert main(["convert-q-table", str(source), "x.pt"]) == 2
    with pytest.raises(CheckpointError, match="a3c convert-q-table"):
        load_state_dict(source)


def test_pickles_are_refused_where_an_agent_is_wanted(tmp_path, capsys):
    source = tmp_path / "q-learning.pkl"
    source.write_bytes(pickle.dumps(COURSE))
    assert main(["eval", "--checkpoint", str(source)]) == 4
    error = capsys.readouterr().err
    assert "could run any code: `a3c convert-q-table`" in error
    assert error.count("\n") == 1
