"""Rows of numbers for the logs."""

import pytest

from a3c.stores.scoreboard import Scoreboard
from a3c.types import EpisodeStats
from evaluators.games.episodes import Games
from evaluators.process.meter import Meter, evaluation_points, games_row, interval_row, training_points


def board_row(seconds=2.0, **sums):
    board = Scoreboard(2, ("entropy",))
    board.add(0, {"env_steps": 1000, "time_env": 5.0, "entropy": 9.0, "metric_count": 1})
    before = board.totals()
    board.add(1, sums)
    return interval_row(before, board.totals(), seconds, board.metric_names)


def test_rates_means_and_shares_are_of_the_interval_alone():
    row = board_row(
        env_steps=200, frames=800, updates=10, episodes=4, return_sum=50.0, length_sum=400, lag_sum=30,
        acting_lag_sum=150, time_env=3.0, time_learn=1.0, metric_count=5, entropy=2.5, grad_norm=10.0,
        rejected_stale=2,
    )  # fmt: skip
    assert row == {
        "steps_per_second": 100, "frames_per_second": 400, "updates_per_second": 5,
        "mean_return": 12.5, "mean_length": 100, "mean_lag": 3, "mean_acting_lag": 15,
        "share_env": 0.75, "share_act": 0, "share_learn": 0.25, "share_pull": 0, "share_push": 0,
        "grad_norm": 2.0, "entropy": 0.5,
        "episodes": 4, "rejected_nonfinite": 0, "rejected_stale": 2,
    }  # fmt: skip


def test_what_did_not_happen_is_missing_not_zero():
    row = board_row(env_steps=10)
    assert (row["mean_return"], row["entropy"], row["mean_lag"], row["share_env"]) == (None,) * 4
    points = training_points(row)
    assert "train/entropy" not in points
    assert points["speed/steps_per_second"] == 5


def test_a_row_stands_at_the_step_it_was_read_at():
    """Steps made since belong to the next row: two rows at one step would be two values in one place."""
    board = Scoreboard(1)
    meter = Meter(board, 0.0)
    board.add(0, {"env_steps": 10, "frames": 40})
    assert meter.read(1.0) is not None
    board.add(0, {"env_steps": 5, "frames": 20})
    assert (meter.counters.env_steps, meter.counters.frames) == (10, 40)
    assert meter.read(2.0) is not None
    assert meter.counters.env_steps == 15
    assert meter.read(3.0) is None


def test_tags_say_what_kind_of_number_it_is():
    points = training_points(board_row(env_steps=1, time_env=1.0, metric_count=1, entropy=0.5))
    assert {"speed/steps_per_second", "time/env", "train/entropy", "train/rejected_stale"} <= set(points)


def test_evaluations_have_every_statistic():
    episodes = tuple(EpisodeStats(score, 100, 400, score == 3.0) for score in (1.0, 2.0, 3.0))
    row = games_row(Games((1, 2, 3), episodes, (1, 3)))
    points = evaluation_points(row)
    assert points["eval/score_mean"] == 2.0
    assert points["eval/truncated"] == 1
    assert points["eval/action_share"] == pytest.approx(0.75)
    assert {f"eval/score_{name}" for name in ("min", "max", "median", "std", "iqm")} <= set(points)
