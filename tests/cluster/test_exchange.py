"""The anchor and the nodes' replicas, in one process, with a clock of the test's."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from a3c.cluster.exchange import (
    ADOPT,
    APPLIED,
    BLOCK,
    COUNTED_BEFORE,
    EMPTY,
    REFUSED,
    Anchor,
    expand,
    pack,
)
from a3c.cluster.replica import Replica, ReplicaMemory
from a3c.cluster.rules import RULES

NAMES = ("env_steps", "return_sum")


@dataclass
class Machine:
    """A node: its weights and what it has counted, and the process that exchanges."""

    name: str
    size: int = 4
    incarnation: int = 1
    steps: float = 0.0
    weights: torch.Tensor = field(init=False)
    memory: ReplicaMemory = field(init=False)
    replica: Replica = field(init=False)

    def __post_init__(self):
        self.weights = torch.zeros(self.size)
        self.memory = ReplicaMemory.allocate(self.size, NAMES)
        self.restart()

    def restart(self):
        """A new exchanging process on the same memory."""
        self.replica = Replica(self.weights, self.memory, self.name, self.incarnation)

    def counters(self):
        return {"env_steps": self.steps, "return_sum": -self.steps}

    def learn(self, amount, steps=1):
        self.weights += amount
        self.steps += steps

    def request(self):
        return self.replica.request(self.counters())

    def exchange(self, anchor, now=0.0):
        """Returns the kind of the reply, and the others' counters."""
        if self.replica.leads:
            reply = anchor.fill(self.replica.fill(self.counters(), self.counters()), now)
        else:
            reply = anchor.exchange(self.request(), now)
        return reply.kind, self.replica.apply(reply)


def cluster(rule="sum", nodes=2, size=4, start=0.0):
    """An anchor and nodes that have all adopted the first one's weights."""
    anchor, machines = Anchor(rule, patience=5.0), [Machine(f"node-{i}", size) for i in range(nodes)]
    machines[0].weights += start
    machines[0].memory.lead()
    for machine in machines:
        machine.exchange(anchor)
    return anchor, machines


def random(size=1000, scale=1.0, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * scale


# what is learned


@pytest.mark.parametrize("rule", ["mean", "sum"])
def test_alone_nothing_changes(rule):
    """Not a bit of the node's weights; the anchor has them, but for what rounding leaves for next time."""
    anchor, [node] = cluster(rule, nodes=1, size=1000)
    for i in range(50):
        node.learn(random(scale=1e-4, seed=i))
        before = node.weights.clone()
        assert node.exchange(anchor)[0] == APPLIED
        assert torch.equal(node.weights, before)
    node.exchange(anchor)
    np.testing.assert_allclose(anchor.weights, node.weights, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("rule", "expected"), [("sum", 9.0), ("mean", 4.5)])
def test_each_node_has_what_the_others_learned(rule, expected):
    anchor, [one, two] = cluster(rule)
    one.learn(1.0)
    two.learn(8.0)
    for machine in (one, two, one, two):
        assert machine.exchange(anchor)[0] == APPLIED
    assert anchor.weights.tolist() == [expected] * 4
    assert one.weights.tolist() == two.weights.tolist() == [expected] * 4


def test_what_workers_push_while_the_exchange_is_on_its_way_stays():
    anchor, [one, two] = cluster()
    one.learn(1.0)
    request = one.request()
    one.learn(4.0)  # a worker pushes
    one.replica.apply(anchor.exchange(request, 0.0))
    assert one.weights.tolist() == [5.0] * 4
    assert anchor.weights.tolist() == [1.0] * 4
    one.exchange(anchor)
    two.exchange(anchor)
    assert anchor.weights.tolist() == two.weights.tolist() == [5.0] * 4


def test_errors_do_not_add_up():
    """After 10,000 exchanges the nodes are as near to the anchor as after ten."""
    anchor, machines = cluster("mean", nodes=3, size=8)
    learned = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(0)) * 1e-3
    for i, amount in enumerate(learned):
        machines[i % 3].learn(amount)
        machines[i % 3].exchange(anchor)
    for machine in machines * 4:
        machine.exchange(anchor)
    for machine in machines:
        np.testing.assert_allclose(machine.weights, anchor.weights, atol=1e-7)
    np.testing.assert_allclose(anchor.weights, learned.double().sum(0) / 3, atol=1e-5)


@pytest.mark.parametrize(("rule", "size"), [*((rule, 100) for rule in RULES), ("nesterov", BLOCK + 100)])
def test_node_and_anchor_agree_to_the_bit_on_what_the_node_knows(rule, size):
    anchor, machines = cluster(rule, nodes=3, size=size)
    for i in range(60):
        machine = machines[i % 3]
        machine.learn(random(size, 1e-3, i))
        machine.exchange(anchor)
        assert (machine.memory.base.numpy() == anchor.nodes[machine.name].image).all()


def test_the_sum_of_many_small_steps_is_not_rounded_away():
    """Steps of a thousandth of what bfloat16 could add to such a weight."""
    anchor, machines = cluster("sum", size=1, start=100.0)
    for i in range(2000):
        machines[i % 2].learn(1e-3)
        machines[i % 2].exchange(anchor)
    assert anchor.weights[0] == pytest.approx(102.0, abs=0.01)  # float32 itself errs by up to 0.008


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["learn", "ask", "lose the request", "lose the reply", "kill", "kill in between"]),
        st.integers(0, 2),
        st.integers(-8, 8),
    ),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_nothing_is_lost_and_nothing_counted_twice(steps):
    """In any order, with lost messages and killed processes: W and what nodes have not yet reported are
    together all that was learned. Whole numbers, so that nothing is rounded."""
    anchor, machines = cluster("sum", nodes=3)
    learned = 0
    for what, who, amount in steps:
        machine = machines[who]
        if what == "learn":
            machine.learn(float(amount))
            learned += amount
        elif what == "ask":
            assert machine.exchange(anchor)[0] in (APPLIED, COUNTED_BEFORE)
        elif what == "lose the request":
            machine.request()
        elif what == "lose the reply":
            anchor.exchange(machine.request(), 0.0)
        elif what == "kill":
            machine.restart()
        else:
            anchor.exchange(machine.request(), 0.0)
            machine.restart()
    for machine in machines * 3:
        machine.exchange(anchor)
    assert anchor.weights.tolist() == [learned] * 4
    for machine in machines:
        assert machine.weights.tolist() == [learned] * 4
    assert anchor.totals()["env_steps"] == sum(machine.steps for machine in machines)


def test_killed_while_weights_are_moved_a_node_adopts():
    """Some elements have moved and some not; the cluster's weights and totals stay right."""
    anchor, [one, two] = cluster("sum")
    two.learn(2.0, steps=7)
    two.exchange(anchor)
    one.learn(1.0, steps=3)
    reply = anchor.exchange(one.request(), 0.0)

    class KilledError(Exception):
        pass

    class Torn:
        """Breaks when half of the weights have moved."""

        def __iadd__(self, change):
            one.weights[:2] += change[:2]
            raise KilledError

    one.replica._blocks = [(Torn(), *one.replica._blocks[0][1:])]
    with pytest.raises(KilledError):
        one.replica.apply(reply)
    one.restart()
    one.learn(0.5, steps=1)  # lost, with its steps: it was learned from torn weights
    kind, others = one.exchange(anchor)
    assert kind == ADOPT
    assert one.weights.tolist() == anchor.weights.tolist() == [3.0] * 4
    assert anchor.totals()["env_steps"] == 10
    assert one.steps + others["env_steps"] == 10
    one.learn(1.0, steps=5)
    assert one.exchange(anchor)[0] == APPLIED
    assert anchor.totals()["env_steps"] == 15


# who may take part


def test_a_forgotten_node_adopts_and_its_counters_stay():
    anchor, [one, two] = cluster("mean")
    one.learn(1.0, steps=10)
    one.exchange(anchor, now=1.0)
    two.learn(1.0, steps=20)
    two.exchange(anchor, now=7.0)
    assert list(anchor.nodes) == ["node-1"]
    assert anchor.totals()["env_steps"] == 30
    one.learn(64.0, steps=100)  # frozen for long, then thawed
    assert one.exchange(anchor, now=8.0)[0] == ADOPT
    assert one.weights.tolist() == anchor.weights.tolist()
    assert anchor.totals()["env_steps"] == 30
    one.learn(1.0, steps=5)
    one.exchange(anchor, now=8.5)
    assert anchor.totals()["env_steps"] == 35
    assert len(anchor.nodes) == 2


def test_a_forgotten_node_whose_adopting_was_lost_adopts_again():
    anchor, [one, two] = cluster("sum")
    one.learn(1.0)
    request = one.request()
    two.exchange(anchor, now=9.0)
    assert anchor.exchange(request, 10.0).kind == ADOPT  # the reply is lost
    one.restart()
    assert one.exchange(anchor, 10.1)[0] == ADOPT
    assert one.weights.tolist() == anchor.weights.tolist() == [0.0] * 4


def test_a_mean_is_over_the_nodes_there_are():
    anchor, [one, _] = cluster("mean")
    one.learn(1.0)
    one.exchange(anchor, now=1.0)
    assert anchor.weights.tolist() == [0.5] * 4
    one.learn(1.0)
    one.exchange(anchor, now=5.5)  # the other was last heard at 0
    assert anchor.weights.tolist() == [1.5] * 4


def test_a_new_incarnation_counts_on_and_the_old_one_is_refused():
    anchor, [_, two] = cluster()
    two.learn(1.0, steps=10)
    two.exchange(anchor)
    again = Machine("node-1", incarnation=2)
    assert again.exchange(anchor)[0] == ADOPT
    again.learn(1.0, steps=3)
    again.exchange(anchor)
    assert anchor.totals() == {"env_steps": 13, "return_sum": -13}
    two.learn(1.0, steps=1)
    assert two.exchange(anchor) == (REFUSED, {})
    assert anchor.weights.tolist() == [2.0] * 4
    assert set(anchor.silences(3.0)) == {"node-0", "node-1"}


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e20])
def test_what_is_not_finite_is_refused_and_healed(poison):
    anchor, [one, two] = cluster("nesterov", start=1.0)
    two.learn(0.0, steps=5)
    two.weights[2] = poison
    assert two.exchange(anchor)[0] == ADOPT
    assert two.weights.tolist() == anchor.weights.tolist() == [1.0] * 4
    sent = one.request()
    assert sent.learned is not None
    sent.learned[1] = pack(np.array([poison], np.float32))[0]  # by one that did not look
    assert anchor.exchange(sent, 0.0).kind == ADOPT
    assert anchor.weights.tolist() == [1.0] * 4
    one.weights[0] = poison
    one.memory.lead()
    assert one.exchange(anchor)[0] == REFUSED
    assert anchor.weights.tolist() == [1.0] * 4
    bad = two.request()._replace(counters={"env_steps": float("nan")})
    assert anchor.exchange(bad, 0.0).kind == REFUSED


def test_a_network_of_another_size_is_refused():
    anchor, _ = cluster()
    reply = anchor.exchange(Machine("other", size=5).request(), 0.0)
    assert (reply.kind, reply.reason) == (REFUSED, "its network has 5 weights, the cluster's 4")
    other = Machine("other", size=5)
    whole = anchor.exchange(Machine("node-7").request(), 0.0)
    with pytest.raises(ValueError, match="4 weights, not 5"):
        other.replica.apply(whole)


# the anchor's end, and new generations


def test_a_node_that_comes_late_is_taken_while_nobody_else_noticed():
    anchor, [one, _] = cluster("sum")
    one.learn(1.0)
    assert one.exchange(anchor, now=100.0)[0] == APPLIED


def test_an_anchor_started_empty_is_filled_by_the_head_and_totals_only_grow():
    anchor, [head, node] = cluster("mean")
    head.learn(1.0, steps=10)
    node.learn(1.0, steps=20)
    totals = []
    for machine in (head, node, head):
        _, others = machine.exchange(anchor)
        totals.append(machine.steps + others["env_steps"])
    anchor = Anchor("mean", patience=5.0)  # restarted by Ray
    for machine in (node, head):
        machine.learn(1.0, steps=1)
        assert machine.exchange(anchor) == (EMPTY, {})
    everything = {"env_steps": head.steps + others["env_steps"], "return_sum": 0.0}
    reply = anchor.fill(head.replica.fill(head.counters(), everything), 0.0)
    others = head.replica.apply(reply)
    assert (reply.kind, reply.generation) == (APPLIED, 2)
    totals.append(head.steps + others["env_steps"])
    assert node.exchange(anchor)[0] == ADOPT
    assert node.weights.tolist() == head.weights.tolist() == anchor.weights.tolist()
    for machine in (node, head, node, head):
        machine.learn(1.0, steps=5)
        kind, others = machine.exchange(anchor)
        assert kind == APPLIED
        totals.append(machine.steps + others["env_steps"])
    assert totals == sorted(totals)
    assert totals[-1] == anchor.totals()["env_steps"] == 31 + 20


@pytest.mark.parametrize("rule", RULES)
def test_a_roll_back_is_a_new_generation_for_all(rule):
    anchor, [head, node] = cluster(rule)
    for _ in range(3):
        for machine in (head, node):
            machine.learn(5.0, steps=1)
            machine.exchange(anchor)
    head.weights.fill_(1.0)  # the checkpoint
    head.memory.lead()
    request = node.request()  # learned from the weights that were given up
    head.exchange(anchor)
    assert anchor.exchange(request, 0.0).kind == ADOPT
    assert node.exchange(anchor)[0] == ADOPT
    assert node.weights.tolist() == anchor.weights.tolist() == [1.0] * 4
    node.learn(0.0)
    node.exchange(anchor)
    assert anchor.weights.tolist() == [1.0] * 4  # without the momentum of before


def test_a_filling_whose_reply_is_lost_is_filled_again():
    anchor, [head, node] = cluster("sum")
    head.learn(1.0, steps=4)
    head.memory.lead()
    anchor.fill(head.replica.fill(head.counters(), head.counters()), 0.0)
    head.restart()
    head.learn(1.0, steps=4)
    assert head.exchange(anchor)[0] == APPLIED
    assert head.replica.generation == 3
    assert node.exchange(anchor)[0] == ADOPT
    assert node.weights.tolist() == [2.0] * 4
    assert anchor.totals()["env_steps"] == 8


def test_weights_replaced_by_others_are_not_taken_for_learning():
    anchor, [_, node] = cluster("sum")
    node.weights.fill_(50.0)
    node.memory.part()
    assert node.exchange(anchor)[0] == ADOPT
    assert node.weights.tolist() == [0.0] * 4


def test_the_memory_is_shared():
    memory = ReplicaMemory.allocate(4, NAMES).share()
    assert all(t.is_shared() for t in (memory.base, memory.sent, memory.cells, memory.start))
    with pytest.raises(ValueError, match="5 weights, and room for 4"):
        Replica(torch.zeros(5), memory, "node", 1)


# bfloat16


@given(st.lists(st.floats(width=32), max_size=20))
def test_bits_are_those_of_bfloat16(values):
    array = np.array(values, np.float32)
    expected = torch.from_numpy(array).bfloat16()
    finite = ~np.isnan(array)
    np.testing.assert_array_equal(expand(pack(array))[finite], expected.float().numpy()[finite])
    assert np.isnan(expand(pack(array))[~finite]).all()


def test_no_nan_becomes_a_number():
    every = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32).view(np.float32)
    assert np.isnan(expand(pack(every))).all()
