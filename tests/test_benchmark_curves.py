"""Curves of benchmark results: what is read, and that a picture comes of it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from benchmarks import curves


@pytest.fixture
def result(tmp_path):
    path = tmp_path / "learning-x.csv"
    rows = ["1,100,6.0,", "1,200,12.0,-3.5", "2,150,9.0,1", "1,300,18.0,2"]
    path.write_text("\n".join(["seed,env_steps,wall_s,mean_return", *rows]) + "\n")
    return path


def test_points_by_seed_without_those_before_the_first_game(result):
    by_steps = curves.read(result, "env_steps")
    assert by_steps.keys() == {1, 2}
    np.testing.assert_array_equal(by_steps[1], [[200, -3.5], [300, 2]])
    np.testing.assert_array_equal(curves.read(result, "wall_s")[2], [[9, 1]])


def test_draws_the_seeds_asked_for(result, tmp_path, monkeypatch):
    out = tmp_path / "out.svg"
    monkeypatch.setattr(sys, "argv", ["curves", str(out), f"before={result}", "--x", "time", "--seeds", "2"])
    curves.main()
    assert "<!-- before: 2 -->" in out.read_text()
