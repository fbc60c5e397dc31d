import pytest

from a3c.learning.pace import LEAST, MOST, Pace


def told(pace: Pace, *divergences: float, schedule: float = 1.0) -> Pace:
    for divergence in divergences:
        pace.tell(divergence, schedule)
    return pace


def test_it_starts_at_the_set_rate_and_stays_there_on_target():
    pace = Pace(0.003)
    assert pace.factor == 1.0
    assert told(pace, *[0.003] * 500).factor == pytest.approx(1.0)


def test_a_policy_that_hardly_moves_is_to_go_faster_and_one_that_leaps_slower_within_bounds():
    assert told(Pace(0.003), *[0.0] * 1000).factor == MOST
    assert told(Pace(0.003), *[1.0] * 1000).factor == LEAST


@pytest.mark.parametrize("at_first", [0.3, 1.0, 3.0])
def test_where_divergence_grows_with_the_square_of_the_rate_it_finds_the_rate_of_its_target(at_first):
    pace = Pace(0.002)
    for _ in range(2000):
        pace.tell(0.002 * (pace.factor / at_first) ** 2, 1.0)
    assert pace.factor == pytest.approx(at_first, rel=0.05)


@pytest.mark.parametrize("schedule", [1.0, 0.5, 0.1])
def test_a_rate_that_falls_is_left_to_fall(schedule):
    """Half the rate moves a policy a quarter as far, which is then the target."""
    assert told(Pace(0.003), *[0.003 * schedule**2] * 1000, schedule=schedule).factor == pytest.approx(
        1, rel=0.01
    )


def test_one_outlier_counts_for_little():
    steady = told(Pace(0.003), *[0.003] * 100)
    assert told(steady, 1e6, *[0.003] * 300).factor > 0.4


def test_what_is_no_number_changes_nothing():
    assert (
        told(Pace(0.003), *[0.001] * 50, float("nan"), 0.001).factor
        == told(Pace(0.003), *[0.001] * 51).factor
    )


def test_it_goes_on_where_another_was():
    one, other = told(Pace(0.003), *[0.001] * 50), Pace(0.003)
    other.set_state(one.get_state())
    assert told(one, 0.002).factor == told(other, 0.002).factor
