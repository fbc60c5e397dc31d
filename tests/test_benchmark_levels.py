"""What can be reached on levels: the values of many boards at once are those of each by itself."""

import numpy as np
import pytest

from a3c.envs.levels import Level, random_level
from benchmarks.levels import SLIPS, Boards
from evaluators.games.exact import optimal_value, policy_value
from evaluators.levels.ranking import RANDOM_PLAY, level_model

RANDOM = np.random.default_rng(3)
LEVELS = [random_level(RANDOM) for _ in range(4)]
BOARDS = Boards(LEVELS)


@pytest.mark.parametrize("slip", [0.0, 0.4, 2 / 3])
def test_values_are_those_of_each_board(slip):
    models = [level_model(Level(level.board, slip)) for level in LEVELS]
    assert BOARDS.optimum(slip) == pytest.approx([optimal_value(model) for model in models])
    random_play = np.tile(RANDOM_PLAY, (len(LEVELS), 1, 1))
    assert BOARDS.wins(random_play, slip) == pytest.approx([policy_value(m, RANDOM_PLAY) for m in models])
    plan = BOARDS.plan(slip, 0.999)
    exact = [policy_value(model, one) for model, one in zip(models, plan, strict=True)]
    assert BOARDS.wins(plan, slip) == pytest.approx(exact)
    assert (BOARDS.wins(plan, slip) <= BOARDS.optimum(slip) + 1e-12).all()


def test_a_plan_is_as_good_as_the_optimum_where_nothing_slips_and_nearly_elsewhere():
    assert BOARDS.wins(BOARDS.plan(0.0, 0.99), 0.0) == pytest.approx(np.ones(len(LEVELS)))
    for slip in (0.1, 0.5):
        assert (BOARDS.wins(BOARDS.plan(slip, 0.999), slip) > BOARDS.optimum(slip) - 0.1).all()


def test_ascent_is_as_good_as_any_plan_and_below_who_sees_the_slip():
    found = BOARDS.mean_wins(BOARDS.ascent())
    plans = [BOARDS.mean_wins(BOARDS.plan(slip, 0.99)) for slip in (0.1, 0.3, 0.5)]
    assert (found > np.max(plans, axis=0) - 1e-3).all()
    assert (found < np.mean([BOARDS.optimum(slip) for slip in SLIPS], axis=0)).all()
