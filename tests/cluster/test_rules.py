"""How the anchor combines what nodes learned."""

import numpy as np
import pytest

from a3c.cluster.rules import RULES, Nesterov


def moved(rule, arrivals, live):
    """Where W stands after each arrival, from 0."""
    where, stands = np.zeros(1, np.float32), []
    for learned in arrivals:
        where = where + rule.move(np.array([learned], np.float32), live)
        stands.append(float(where[0]))
    return stands


@pytest.mark.parametrize(("name", "expected"), [("mean", 2.0), ("sum", 6.0)])
def test_a_round_moves_by_the_mean_or_by_the_sum(name, expected):
    assert moved(RULES[name](), [1, 2, 3], 3)[-1] == pytest.approx(expected)


def test_a_round_of_arrivals_is_one_synchronous_step_of_diloco():
    rule, where, expected, velocity = Nesterov(), 0.0, 0.0, 0.0
    for learned in ([1.0, 2.0, 6.0], [0.5, -4.0, 2.0], [0.0, 0.0, 0.0], [7.0, 1.0, 1.0]):
        gradient = sum(learned) / 3
        velocity = 0.9 * velocity + gradient
        expected += 0.7 * (gradient + 0.9 * velocity)  # SGD with Nesterov momentum, as in torch.optim
        where += moved(rule, learned, 3)[-1]
        assert where == pytest.approx(expected, rel=1e-5)


def test_momentum_is_of_rounds_not_of_arrivals():
    """Of nodes that learn the same again and again, as many more make W no faster."""
    alone = moved(Nesterov(), [1.0] * 20, 1)[-1]
    assert moved(Nesterov(), [1.0] * 80, 4)[-1] == pytest.approx(alone, rel=1e-5)


def test_momentum_goes_on_when_a_node_is_gone():
    rule = Nesterov(rate=1.0, momentum=0.5)
    moved(rule, [1.0, 1.0], 3)  # the third never comes
    assert moved(rule, [0.0], 2)[0] == pytest.approx(1 / 3)
