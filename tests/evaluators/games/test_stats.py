"""Statistics against literal values and brute force."""

import itertools

import numpy as np
import pytest

from evaluators.games.stats import aggregates, bootstrap, iqm, mean, summarise


def test_golden_summary():
    s = summarise([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (s.n, s.mean, s.median, s.min, s.max) == (5, 22.0, 3.0, 1.0, 100.0)
    assert s.std == pytest.approx(43.6176569175)  # of the sample: sqrt(7610 / 4)
    assert s.iqm == 3.0  # one score is cut at each end: (2 + 3 + 4) / 3


@pytest.mark.parametrize("n", range(1, 14))
def test_iqm_is_the_trimmed_mean(n):
    scores = np.random.default_rng(n).normal(size=n)
    kept = sorted(scores)
    for _ in range(n // 4):
        kept = kept[1:-1]
    assert float(iqm(scores)) == pytest.approx(sum(kept) / len(kept))


def test_one_score_and_none():
    s = summarise([7.0])
    assert s.std == 0.0
    assert s.mean_interval == (7.0, 7.0)
    with pytest.raises(ValueError, match="no scores"):
        summarise([])


def test_bootstrap_is_seeded_and_brackets_the_statistic():
    scores = np.random.default_rng(0).normal(10, 2, size=50).tolist()
    first, again, other = bootstrap(scores, mean), bootstrap(scores, mean), bootstrap(scores, mean, seed=1)
    assert first == again != other
    assert first.low < np.mean(scores) < first.high


def test_bootstrap_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(200):
        low, high = bootstrap(rng.normal(5, 1, size=40).tolist(), mean, resamples=300)
        hits += low <= 5 <= high
    assert 175 <= hits <= 200


def test_aggregates_are_what_their_definitions_give():
    games = [[0.0, 0.5], [2.0, 4.0], [-1.0, 0.5], [0.5, 1.5]]
    found = aggregates(games)
    pooled = sorted(score for runs in games for score in runs)
    assert found["IQM"].value == pytest.approx(sum(pooled[2:6]) / 4)
    assert found["mean"].value == pytest.approx((0.25 + 3 - 0.25 + 1) / 4)
    assert found["median"].value == pytest.approx((0.25 + 1) / 2)
    gap = sum(max(1 - score, 0) for score in pooled) / len(pooled)
    assert found["optimality gap"].value == pytest.approx(gap)


def test_what_differs_between_games_makes_no_aggregate_unsure():
    """The bootstrap draws the runs of each game anew, not the games: it is stratified."""
    for one in aggregates([[0.0, 0.0], [10.0, 10.0], [200.0, 200.0]]).values():
        assert one.interval == (one.value, one.value)


def test_one_run_of_each_game_says_nothing_of_the_spread():
    assert [one.interval for one in aggregates([[0.0], [10.0], [200.0]]).values()] == [None] * 4
    assert all(one.interval for one in aggregates([[0.0], [10.0, 11.0]]).values())


def test_the_stratified_bootstrap_is_that_of_all_ways_to_draw():
    """Of two runs in each of two games there are 16, all as likely; by brute force."""
    games = [[0.1, 0.7], [0.3, 0.9]]
    ways = [np.array(way) for way in itertools.product(*[games[0]] * 2, *[games[1]] * 2)]
    found = aggregates(games, resamples=20_000)
    for name, statistic in (("mean", mean), ("IQM", iqm)):
        values = [float(statistic(way)) for way in ways]
        assert found[name].interval == pytest.approx((min(values), max(values)))  # either has 1 / 16


def test_the_interval_of_the_mean_is_the_normal_one_for_many_runs():
    rng = np.random.default_rng(7)
    games = [rng.normal(level, 1, size=200).tolist() for level in (0, 5, 50)]
    error = np.sqrt(sum(np.var(runs) / len(runs) for runs in games)) / len(games)
    one = aggregates(games, resamples=10_000)["mean"]
    assert one.interval == pytest.approx(
        (one.value - 1.96 * error, one.value + 1.96 * error), abs=0.1 * error
    )


def test_nothing_to_aggregate():
    for games in ([], [[1.0], []]):
        with pytest.raises(ValueError, match="no scores"):
            aggregates(games)
