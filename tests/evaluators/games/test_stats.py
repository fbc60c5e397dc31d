"""Statistics against literal values and brute force."""

import numpy as np
import pytest

from evaluators.games.stats import bootstrap, iqm, mean, summarise


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
