"""What every store promises, on private memory, on shared memory lock-free, and in turns."""

import dataclasses

import pytest
import torch

from a3c.settings.groups import OptimConfig
from a3c.stores.parameters import Parameters
from a3c.stores.scoreboard import Scoreboard
from a3c.stores.shared import SharedStore, StoreMemory
from a3c.stores.turns import Turns
from a3c.types import Rows
from tests.warm import CONTEXT

SHAPES = {"weight": (3, 4), "bias": (4,)}
SGD = OptimConfig(optimizer="sgd", lr=0.5, max_grad_norm=0.0)


@pytest.fixture(params=["private", "lock-free", "locked"])
def make_store(request):
    def make(optim=SGD, max_steps=0):
        board = Scoreboard(1)
        memory = StoreMemory.allocate(SHAPES, optim)
        if request.param != "private":
            board.share()
            memory.share()
        turns = Turns(1) if request.param == "locked" else None
        return SharedStore(memory, optim, max_steps, board, 0, turns), board

    return make


def ones(scale=1.0):
    return {name: torch.full(shape, scale) for name, shape in SHAPES.items()}


def test_a_push_moves_the_weights_against_the_gradient(make_store):
    store, _ = make_store()
    mine = Parameters(SHAPES)
    assert store.pull(mine) == 0
    result = store.push(ones(), 0)
    assert result.applied
    assert result.lag == 0
    assert result.grad_norm == pytest.approx(4.0)
    assert mine.flat.eq(0).all()  # a pulled copy is private
    assert store.pull(mine) == 1
    assert mine.flat.eq(-0.5).all()
    assert store.counters().updates == 1


@pytest.mark.parametrize("kind", ["dense", "rows"])
def test_a_push_goes_as_far_as_its_pace_says(make_store, kind):
    moved = []
    for pace in (1.0, 0.25):
        store, _ = make_store()
        rows = {"weight": Rows((torch.tensor([0]), torch.tensor([0])), torch.tensor([4.0]))}
        store.push(ones() if kind == "dense" else rows, 0, pace)
        moved.append(float(store.parameters.views["weight"][0, 0]))
    assert moved[0] < 0
    assert moved[1] == pytest.approx(moved[0] / 4)


def test_lag_counts_the_updates_since_the_pull(make_store):
    store, board = make_store()
    for _ in range(3):
        store.push(ones(), 0)
    assert store.push(ones(), 1).lag == 2
    assert board.total("lag_sum") == 0 + 1 + 2 + 2


def test_gradients_are_clipped_to_the_global_norm(make_store):
    store, _ = make_store(OptimConfig(optimizer="sgd", lr=1.0, max_grad_norm=1.0))
    gradients = ones(10.0)
    assert store.push(gradients, 0).grad_norm == pytest.approx(40.0)
    assert float(store.parameters.flat.norm()) == pytest.approx(1.0)
    assert gradients["bias"].eq(10.0).all()  # the caller's tensors are left alone


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_nonfinite_gradient_never_reaches_the_weights(make_store, poison):
    store, _ = make_store(OptimConfig())
    gradients = ones()
    gradients["bias"][2] = poison
    result = store.push(gradients, 0)
    assert not result.applied
    assert result.reason == "non-finite"
    assert store.parameters.flat.eq(0).all()
    assert store.counters().rejected == 1
    assert store.counters().updates == 0
    assert all(t.eq(0).all() for t in store.snapshot()["optimizer"].values())


def test_a_stale_gradient_is_refused(make_store):
    store, _ = make_store(OptimConfig(optimizer="sgd", lr=1.0, max_lag=1))
    for _ in range(3):
        store.push(ones(), store.pull(Parameters(SHAPES)))
    assert store.push(ones(), 2).applied
    refused = store.push(ones(), 2)
    assert (refused.applied, refused.reason, refused.lag) == (False, "stale", 2)


def test_rows_touch_only_their_cells(make_store):
    store, _ = make_store()
    index = (torch.tensor([1, 1, 2]), torch.tensor([0, 0, 3]))
    store.push({"weight": Rows(index, torch.tensor([1.0, 1.0, -2.0]))}, 0)
    table = store.parameters.views["weight"]
    assert table[1, 0] == -1.0
    assert table[2, 3] == 1.0
    assert table.abs().sum() == 2.0
    assert store.parameters.views["bias"].eq(0).all()
    bad = store.push({"weight": Rows(index, torch.tensor([1.0, float("nan"), 0.0]))}, 1)
    assert bad.reason == "non-finite"


def test_the_learning_rate_falls_with_the_steps(make_store):
    store, board = make_store(OptimConfig(optimizer="sgd", lr=1.0, lr_schedule="linear"), max_steps=100)
    board.add(0, {"env_steps": 75})
    assert store.learning_rate() == pytest.approx(0.25)
    board.add(0, {"env_steps": 75})
    assert store.learning_rate() == 0.0


def test_snapshot_and_restore(make_store):
    store, _ = make_store(OptimConfig())
    store.push(ones(), 0)
    snapshot = store.snapshot()
    assert set(snapshot["optimizer"]) == {
        f"{state}.{name}" for state in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") for name in SHAPES
    }
    store.push(ones(), 1)
    assert not torch.equal(store.snapshot()["model"]["bias"], snapshot["model"]["bias"])
    store._memory.restore(snapshot)
    after = store.snapshot()
    for part in ("model", "optimizer"):
        assert all(torch.equal(after[part][name], t) for name, t in snapshot[part].items())
    with pytest.raises(ValueError, match="weight is missing"):
        store._memory.restore({**snapshot, "model": {"bias": torch.zeros(4)}})


def averaged(updates):
    return dataclasses.replace(SGD, average_updates=updates)


def test_the_average_is_played_and_the_weights_go_on_learning(make_store):
    store, _ = make_store(averaged(2))
    for expected_weights, expected_average in ((-0.5, -0.5), (-1.0, -0.75), (-1.5, -1.125)):
        store.push(ones(), 0)
        assert store.parameters.flat.eq(expected_weights).all()
        snapshot = store.snapshot()
        assert snapshot["model"]["weight"].eq(expected_average).all()
        assert snapshot["optimizer"]["weights.bias"].eq(expected_weights).all()
    mine = Parameters(SHAPES)
    store.pull(mine)
    assert mine.flat.eq(-1.5).all()


def test_before_the_first_update_the_average_is_what_the_run_began_with(make_store):
    store, _ = make_store(averaged(100))
    store._memory.begin(ones(3.0))
    assert store.snapshot()["model"]["bias"].eq(3.0).all()
    store.push(ones(), 0)
    assert store.snapshot()["model"]["bias"].eq(2.5).all()  # and the first update replaces it


def test_average_and_weights_are_restored_each(make_store):
    store, _ = make_store(averaged(2))
    for _ in range(3):
        store.push(ones(), 0)
    snapshot = store.snapshot()
    store.push(ones(), 0)
    store._memory.restore(snapshot)
    assert store.parameters.flat.eq(-1.5).all()
    after = store.snapshot()
    for part in ("model", "optimizer"):
        assert all(torch.equal(after[part][name], t) for name, t in snapshot[part].items())


@pytest.mark.parametrize(("before", "now"), [(2, 0), (0, 2)])
def test_a_run_may_begin_or_end_to_average(make_store, before, now):
    store, _ = make_store(averaged(before))
    for _ in range(3):
        store.push(ones(), 0)
    other, _ = make_store(averaged(now))
    other._memory.restore(store.snapshot())
    assert other.parameters.flat.eq(-1.5).all()
    assert other.snapshot()["model"]["bias"].eq(-1.5).all()


def test_state_of_another_optimizer_is_refused(make_store):
    store, _ = make_store(OptimConfig(amsgrad=False))
    other, _ = make_store(OptimConfig())
    store.push(ones(), 0)
    with pytest.raises(ValueError, match=r"it has exp_avg, exp_avg_sq, not .*max_exp_avg_sq"):
        other._memory.restore(store.snapshot())
    assert other.parameters.flat.eq(0).all()


# Two real processes push known gradients -----------------------------------------------------------

PUSHES = 1500
SIZE = {"weight": (20_000,)}


def push_many(memory, optim, board, row, lock):
    torch.set_num_threads(1)
    store = SharedStore(memory, optim, 0, board, row, lock)
    gradient = {"weight": torch.full(SIZE["weight"], float(row + 1))}
    mine = Parameters(SIZE)
    for _ in range(PUSHES):
        store.push(gradient, store.pull(mine))


def two_processes(lock, optim):
    board, memory = Scoreboard(2).share(), StoreMemory.allocate(SIZE, optim).share()
    children = [CONTEXT.Process(target=push_many, args=(memory, optim, board, row, lock)) for row in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
        assert child.exitcode == 0
    return memory, board


def test_locked_pushes_of_two_processes_all_count_exactly():
    memory, board = two_processes(Turns(1), OptimConfig(optimizer="sgd", lr=2**-10, max_grad_norm=0.0))
    assert memory.weights.eq(-PUSHES * (1 + 2) * 2**-10).all()
    assert board.total("updates") == 2 * PUSHES


def test_lock_free_pushes_lose_less_than_a_twentieth():
    """Hogwild may lose a push at an element that both write at the same instant, and never invents one.

    Here both do nothing but push, the worst case there is: a training worker spends a hundredth of its
    time in a push. Where others take turns on the cores a writer may pause in the middle of its pushes, so
    the loss is that of the best of a few tries; all else holds in each.
    """
    total, kept = PUSHES * (1 + 2) * 2**-10, 0.0
    for _ in range(5):
        memory, board = two_processes(None, OptimConfig(optimizer="sgd", lr=2**-10, max_grad_norm=0.0))
        applied = -memory.weights
        assert applied.max() <= total
        assert board.total("updates") == 2 * PUSHES
        kept = max(kept, float(applied.mean()))
        if kept >= 0.95 * total:
            break
    assert kept >= 0.95 * total


def test_adam_counts_its_steps_over_both_processes(tmp_path):
    """Bias correction sees every update of anyone: a constant gradient moves each weight by lr a step."""
    optim = OptimConfig(optimizer="adam", lr=1e-3, amsgrad=False, epsilon=1e-12, max_grad_norm=0.0)
    board, memory = Scoreboard(2).share(), StoreMemory.allocate(SHAPES, optim).share()
    stores = [SharedStore(memory, optim, 0, board, row) for row in range(2)]
    for update in range(20):
        stores[update % 2].push(ones(3.0), update)
    torch.testing.assert_close(
        memory.weights, torch.full_like(memory.weights, -20 * 1e-3), rtol=1e-4, atol=1e-7
    )
