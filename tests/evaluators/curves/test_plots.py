"""`a3c plot`: what a curve is made of, and the pictures."""

from __future__ import annotations

import csv
import json

import cv2
import numpy as np
import pytest
from matplotlib.figure import SubFigure

from a3c.cli import main
from a3c.settings.config import Config
from a3c.settings.groups import EnvConfig
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG, METRICS
from evaluators.curves.drawing import informative
from evaluators.curves.points import EVALUATION, TRAIN, band, moving_average, read_curves, surviving
from evaluators.curves.references import references


def train(steps, score):
    place = {"env_steps": steps, "frames": 4 * steps, "wall_s": steps / 100}
    return {"kind": TRAIN, **place, "mean_return": score, "episodes": steps / 10}


def evaluation(steps, *scores, kind=EVALUATION):
    place = {"env_steps": steps, "frames": 4 * steps, "wall_s": steps / 100}
    row = {"n": len(scores), "mean": np.mean(scores), "min": min(scores), "max": max(scores)}
    return {"kind": kind, **place, **row}


def make_run(path, rows, **settings):
    path.mkdir(parents=True)
    config = Config().replace(**{"env": "CartPole-v1", **settings})
    write_json(path / CONFIG, {"run_id": "x", "settings": config.to_dict(), "starts": []})
    (path / METRICS).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def learning(seed, top=500.0, count=80):
    random = np.random.default_rng(seed)
    rows = []
    for i in range(1, count):
        score = top / (1 + np.exp((count / 3 - i) / 5))
        rows.append(train(1000 * i, score + random.normal(0, 20)))
        if i % 8 == 0:
            rows.append(evaluation(1000 * i, *(score + random.normal(0, 30, 5))))
    return rows


def steps_of(tmp_path, rows):
    """The places of the rows that count, on training and on evaluations."""
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return [[point.env_steps for point in points] for points in surviving(path)]


def test_points_lost_in_a_crash_are_forgotten(tmp_path):
    rows = [train(100, 1.0), evaluation(90, 1.0), train(200, 2.0), evaluation(190, 2.0), train(300, 3.0)]
    again = [train(150, 9.0), train(250, 9.5)]
    assert steps_of(tmp_path, [*rows, *again]) == [[100, 150, 250], [90]]
    # An evaluation is told after it began: that is no fall-back.
    assert steps_of(tmp_path, rows) == [[100, 200, 300], [90, 190]]


@pytest.mark.parametrize(
    "damage",
    [
        {"env_steps": None}, {"env_steps": "9"}, {"env_steps": [9]}, {"env_steps": True}, {"frames": "x"},
        {"mean_return": "abc"}, {"mean_return": {}}, {"wall_s": float("inf")}, {"episodes": float("nan")},
        {"env_steps": 10**400}, {"env_steps": 1e308}, {"mean_return": -1e308},
    ],
    ids=str,
)  # fmt: skip
def test_rows_that_cannot_be_read_are_left_out_and_counted(damage, tmp_path, caplog):
    bad = {**train(150, 9.0), **damage}
    assert steps_of(tmp_path, [train(100, 1.0), bad, "[1]", '{"kind": "train"', train(200, 2.0)]) == [
        [100, 200],
        [],
    ]
    assert caplog.text.count("3 rows cannot be read and are left out") == 1


def test_a_large_file_is_read_in_bounded_time_and_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluators.curves.points.MOST_ROWS", 100)
    rows = [row for i in range(1, 2001) for row in (train(i, 1.0), evaluation(i, 1.0))]
    training, evaluations = steps_of(tmp_path, rows)
    for steps in (training, evaluations):
        assert 50 <= len(steps) <= 100
        assert set(np.diff(steps)) == {32}
        assert steps[-1] > 1950
    parsed = []
    monkeypatch.setattr("evaluators.curves.points.json.loads", lambda line: parsed.append(line) or {})
    steps_of(tmp_path, ["x" * 3_000_000])
    assert max(map(len, parsed)) == 2**20


def test_a_run_s_points_have_places_on_every_axis(tmp_path):
    recheck = evaluation(150, 0.0, kind="recheck")
    rows = [train(100, 1.0), train(200, None), evaluation(150, 4.0, 6.0), recheck]
    run = read_curves(make_run(tmp_path / "run", rows))
    assert [point.kind for point in run.points] == [TRAIN, EVALUATION]
    x, y = run.xy(EVALUATION, "episodes")
    assert x.tolist() == [15.0]
    assert y.tolist() == [[5.0, 4.0, 6.0, 2.0]]
    places = [run.xy(TRAIN, axis)[0].tolist() for axis in ("steps", "frames", "time")]
    assert places == [[100.0], [400.0], [1.0]]


def test_the_moving_average_weighs_episodes():
    values, weights = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 1.0, 2.0, 1.0])
    assert moving_average(values, weights, 1).tolist() == values.tolist()
    assert moving_average(values, weights, 2) == pytest.approx([1, 1.5, 8 / 3, 10 / 3])
    assert moving_average(values, weights, 9) == pytest.approx([1, 1.5, 9 / 4, 13 / 5])


def test_a_band_goes_as_far_as_all_runs_do():
    x = np.arange(5.0)
    result = band([(x, x), (x[:4] + 0.5, 2 * x[:4] + 1)])
    assert (result.x[0], result.x[-1]) == (0.5, 3.5)
    assert result.low == pytest.approx(result.x)
    assert result.high == pytest.approx(2 * result.x)
    assert result.mean == pytest.approx(1.5 * result.x)
    assert band([(x[:0], x[:0]), (x, x)]) is None
    assert band([(x, x), (x + 10, x)]) is None


@pytest.mark.parametrize(
    ("env", "kwargs", "known"),
    [
        ("ALE/Pong-v5", {}, {"random": -20.7, "human": 14.6, "A3C-LSTM paper": 10.7, "best possible": 21}),
        ("CartPole-v1", {}, {"best possible": 500}),
        ("FrozenLake-v1", {"is_slippery": False}, {"best possible": 1.0}),
        ("FrozenLake-v1", {}, {"best possible": 0.744190, "random": 0.0139}),
        ("Taxi-v3", {}, {"best possible": 7.93}),
        ("FrozenLakeLevels-v0", {}, {}),
        ("Nothing-v0", {}, {}),
    ],
)
def test_what_is_known_about_an_environment(env, kwargs, known):
    found = {mark.name: mark.score for mark in references(EnvConfig(env=env, env_kwargs=kwargs))}
    for name, score in known.items():
        assert found[name] == pytest.approx(score, abs=1e-3)
    assert bool(found) == bool(known)


@pytest.mark.parametrize("axis", ["steps", "frames", "episodes", "time"])
@pytest.mark.parametrize("name", ["curve.png", "curve.svg"])
def test_pictures_of_one_run(axis, name, tmp_path, capsys):
    run = make_run(tmp_path / "run", learning(1))
    assert main(["plot", str(run), "--x", axis, "--out", str(tmp_path / name), "--random", "22"]) == 0
    assert "random: 22\n" in capsys.readouterr().out
    if name.endswith("png"):
        picture = cv2.imread(str(tmp_path / name))
        assert picture.shape == (720, 1200, 3)
        assert len(np.unique(picture @ [1 << 16, 1 << 8, 1])) > 50  # colours
    else:
        assert "<svg" in (tmp_path / name).read_text()


def test_bars_that_are_all_alike_are_left_out():
    lost, won = np.zeros(20), np.ones(20)
    assert not informative(lost, won)
    won[:3] = 0  # at first nothing was won
    assert not informative(lost, won)
    assert informative(np.arange(20.0), np.arange(20.0) + 5)
    assert informative(lost[:2], won[:2])


def test_seeds_become_a_band_and_algorithms_are_compared(tmp_path, capsys):
    runs = [make_run(tmp_path / f"s{seed}", learning(seed), seed=seed) for seed in range(3)]
    runs.append(make_run(tmp_path / "slow", learning(5, top=300), lr=1e-5))
    runs.append(make_run(tmp_path / "young", [train(10, 3.0)], lr=1e-6))
    picture, points = tmp_path / "all.png", tmp_path / "all.csv"
    assert main(["plot", *map(str, runs), "--out", str(picture), "--csv", str(points)]) == 0
    assert picture.stat().st_size > 20_000
    with open(points, newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["run"] for row in rows} == {"s0", "s1", "s2", "slow", "young"}
    assert len(rows) == 4 * (79 + 9) + 1
    assert float(rows[0]["episodes"]) == 100.0


def legend_of(monkeypatch, *runs, out):
    """The names in the legend, and the colours and markers of the lines that have one."""
    found = {}

    def legend(figure, lines, labels, **options):
        found.update(zip(labels, lines, strict=True))
        return original(figure, lines, labels, **options)

    original = SubFigure.legend
    monkeypatch.setattr(SubFigure, "legend", legend)
    assert main(["plot", *map(str, runs), "--out", str(out)]) == 0
    return found


def test_each_seed_has_a_colour_and_its_name(tmp_path, monkeypatch):
    runs = [make_run(tmp_path / f"s{seed}", learning(seed), seed=seed) for seed in (3, 5)]
    found = legend_of(monkeypatch, *runs, out=tmp_path / "x.png")
    names = ["seed 3: evaluation", "seed 5: evaluation", "mean of the 2 seeds"]
    assert {*names, "the same colours, thin: training"} == found.keys()
    assert len({found[name].get_color() for name in names}) == 3


def test_points_are_shown_where_there_are_few(tmp_path, monkeypatch):
    for count, marker in ((20, "o"), (80, "")):
        run = make_run(tmp_path / f"{count}", learning(1, count=count))
        training = legend_of(monkeypatch, run, out=tmp_path / "x.png")["a3c: training"]
        assert training.get_marker() == marker


def test_environments_have_panels_of_their_own_and_it_is_said(tmp_path, capsys):
    runs = [make_run(tmp_path / env, learning(1), env=env) for env in ("CartPole-v1", "Acrobot-v1")]
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "x.png")]) == 0
    assert "scores of 2 environments are not comparable" in capsys.readouterr().out
    assert cv2.imread(str(tmp_path / "x.png")).shape == (720, 2400, 3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty"], "nothing was played to its end"),
        (["empty", "--out", "x.jpg"], "the name must end in"),
        (["empty", "--csv", "no/x"], "a folder that exists"),
        ([], "no run under"),
    ],
)
def test_mistakes_take_one_line(flags, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "empty", [train(10, None)])
    assert main(["plot", *flags]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_a_run_is_found_without_its_folder_of_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "checkpoints" / "run", learning(1))
    assert main(["plot", "run"]) == 0
    assert "curve.png: checkpoints/run" in capsys.readouterr().out


def test_names_are_drawn_as_they_are_written(tmp_path, capsys):
    runs = [make_run(tmp_path / f"run$a{i}$", learning(i), lr=lr) for i, lr in enumerate((1e-3, 1e-4))]
    assert main(["plot", *map(str, runs), "--out", str(tmp_path / "x.png")]) == 0
