"""When a run will reach its target, as far as its evaluations tell."""

import pytest

from a3c.training.forecast import POINTS, seconds_to

RISING = [(10.0, 1.0), (20.0, 2.0), (30.0, 3.0)]


def test_a_straight_line_is_followed():
    assert seconds_to(5.0, RISING, now=30.0) == pytest.approx(20.0)
    assert seconds_to(5.0, RISING, now=42.0) == pytest.approx(8.0)


def test_what_is_overdue_is_due_now():
    assert seconds_to(5.0, RISING, now=60.0) == 0.0
    assert seconds_to(2.0, RISING, now=30.0) == 0.0


@pytest.mark.parametrize(
    "points",
    [
        [],
        RISING[:2],
        [(10.0, 3.0), (20.0, 2.0), (30.0, 1.0)],
        [(10.0, 2.0), (20.0, 2.0), (30.0, 2.0)],
        [(10.0, 1.0)] * 3,
        [(10.0, 1.0), (20.0, 1.0), (30.0, 1.000001)],  # more than a month
    ],
)
def test_without_a_rise_there_is_no_forecast(points):
    assert seconds_to(500.0, points, now=30.0) is None


def test_only_the_newest_count():
    old = [(float(i), 1000.0 - i) for i in range(100)]
    new = [(100.0 + i, float(i)) for i in range(POINTS)]
    assert seconds_to(20.0, old + new, now=110.0) == pytest.approx(10.0)
