"""The model of a cluster against cases whose answer is known."""

from dataclasses import replace

import pytest

from benchmarks.cluster_model import Cluster, Simulation, simulate

SMALL = Cluster(1, interval_s=1.0, weights=3_000_000, gigabits=1.0, latency_s=0.01)


@pytest.mark.parametrize("shards", [1, 4])
def test_a_node_alone_waits_for_nobody(shards):
    alone = replace(SMALL, shards=shards)
    found = simulate(alone)
    assert found.interval_s == pytest.approx(alone.alone_s, rel=1e-6)
    assert found.useful == pytest.approx(1.0, abs=0.05)


def test_what_is_alone_is_the_sum_of_its_parts():
    """1 s, 48 million bits each way at a gigabit a second, 10 ms each way, and two processors."""
    parts = 1.0 + 2 * 0.048 + 2 * 0.01 + SMALL.node_s + SMALL.anchor_s
    assert SMALL.alone_s == pytest.approx(parts)


def test_few_nodes_do_not_bend_it():
    few = replace(SMALL, nodes=round(SMALL.bend / 4))
    assert simulate(few).interval_s < 1.1 * few.alone_s


@pytest.mark.parametrize("gigabits", [0.1, 1000.0])  # the line is too slow, or the processor
def test_beyond_the_bend_the_slowest_part_sets_the_pace(gigabits):
    many = replace(SMALL, gigabits=gigabits)
    many = replace(many, nodes=round(4 * many.bend))
    slowest = max(many.line_s, many.anchor_s)
    found = simulate(many)
    assert found.interval_s == pytest.approx(many.nodes * slowest, rel=0.02)
    assert max(found.line_busy, found.anchor_busy) == pytest.approx(1.0, abs=0.02)


def test_four_shards_answer_nearly_four_times_as_many():
    many = replace(SMALL, nodes=round(8 * SMALL.bend))
    ratio = simulate(many).interval_s / simulate(replace(many, shards=4)).interval_s
    assert ratio == pytest.approx(4.0, rel=0.1)


def test_what_failures_take_is_the_time_away_and_the_learning_on_its_way():
    """Of a life of an hour, a node loses 17 s, and half an interval; the anchor's failures take about as
    much of everybody's again."""
    failing = replace(SMALL, nodes=5, interval_s=20.0, failures=1.0)
    lost = 1 - Simulation(failing, 60 * 3600.0, seed=1).run().useful
    each = (17.1 + failing.alone_s / 2) / 3600
    assert lost == pytest.approx(2 * each, rel=0.3)


def test_the_same_seed_gives_the_same():
    failing = replace(SMALL, nodes=3, failures=10.0)
    one, two, other = (Simulation(failing, 600.0, seed).run() for seed in (1, 1, 2))
    assert one == two != other
