"""Several games as one score: from runs, packages and files, with what is not comparable said."""

from __future__ import annotations

import json

import pytest

from a3c.cli import main
from evaluators.curves.aggregate import aggregate, words
from tests.evaluators.curves.test_plots import evaluation, make_run, train


def write(path, **content):
    path.write_text(json.dumps(content))
    return str(path)


def result(path, env, mean):
    """As `a3c eval --json` writes it."""
    return write(path, env=env, mean=mean, protocol="classic")


def test_files_of_all_kinds_are_taken_together(tmp_path):
    pong = result(tmp_path / "a.json", "PongNoFrameskip-v4", 14.6)
    runs = [
        {"env": "BreakoutNoFrameskip-v4", "seed": seed, "mean": mean, "protocol": "classic"}
        for seed, mean in ((1, 1.7), (2, 59.3))
    ]
    many = write(tmp_path / "many.json", runs=runs)
    table = aggregate([pong, many])
    assert table.games == {"Pong": [pytest.approx(1)], "Breakout": [0, pytest.approx(2)]}
    assert table.found["mean"].value == pytest.approx(1)
    assert table.rules == ["classic *NoFrameskip-v4"]
    said = "\n".join(words(table))
    assert "differ in their number of runs" in said
    assert "intervals too narrow: of Pong there is one run" in said


def test_it_is_drawn_and_said(tmp_path, capsys):
    files = [
        result(tmp_path / f"{game}{seed}.json", f"{game}{form}", seed)
        for game, form in (("Pong", "-v0"), ("Breakout", "NoFrameskip-v4"))
        for seed in (3, 4)
    ]
    assert main(["plot", "--aggregate", *files, "--out", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "2 games, 4 runs" in out
    assert "IQM" in out
    assert "optimality gap" in out
    assert "not all were played by the same rules: classic *-v0; classic *NoFrameskip-v4" in out
    assert (tmp_path / "a.png").stat().st_size > 10_000


def test_one_run_of_each_game_has_no_intervals(tmp_path, capsys):
    files = [
        result(tmp_path / f"{game}.json", f"{game}NoFrameskip-v4", 5)
        for game in ("Pong", "Breakout", "Qbert")
    ]
    assert main(["plot", "--aggregate", *files, "--out", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert "one run of each game: too few for intervals" in out
    assert "95 %" not in out


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        ('{"env": "CartPole-v1", "mean": 3}', 2, "no human score is known"),
        ('{"env": "Pong-v0"}', 4, "is no result"),
        ('{"env": 5, "mean": 3}', 4, "is no result"),
        ('{"env": "Pong-v0", "mean": true}', 4, "is no result"),
        ('{"env": "Pong-v0", "mean": 1e300}', 4, "is no result"),
        ('{"runs": []}', 4, "it has no runs"),
        ('{"runs": 7}', 4, "is no result"),
        ("{", 4, "is no result"),
    ],
)
def test_bad_input_takes_one_line(content, code, said, tmp_path, capsys):
    (tmp_path / "it.json").write_text(content)
    assert main(["plot", "--aggregate", str(tmp_path / "it.json")]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_run_counts_by_its_last_evaluation_and_needs_one(tmp_path, capsys):
    rows = [train(1, -20.0), evaluation(1, -21, -20), evaluation(2, 14.6, 14.6)]
    run = make_run(tmp_path / "run", rows, env="Pong-v0")
    assert aggregate([str(run)]).games == {"Pong": [pytest.approx(1)]}
    young = make_run(tmp_path / "young", rows[:1], env="Pong-v0")
    assert main(["plot", "--aggregate", str(young)]) == 2
    assert "was never evaluated" in capsys.readouterr().err
    assert main(["plot", "--aggregate", "x" * 300]) == 2
    assert main(["plot", "--aggregate"]) == 2
