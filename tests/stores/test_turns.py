"""Turns between real processes: how many have one at a time, who is next, and what a dead holder leaves."""

import os
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch

from a3c.stores.turns import Turns
from tests.run_tools import wait_for
from tests.warm import CONTEXT

PLACES, TURNS = 2, 100


def take_turns(turns, who, inside, most):
    """Has `TURNS` turns, and sees how many are at it at the same time."""
    torch.set_num_threads(1)
    for _ in range(TURNS):
        with turns.take(who):
            inside[who] = 1
            most[who] = max(int(most[who]), int(inside.sum()))
            inside[who] = 0


def test_no_more_than_the_places_are_taken_at_a_time():
    inside, most = torch.zeros(4, dtype=torch.int64).share_memory_(), torch.zeros(4).share_memory_()
    turns = Turns(PLACES)
    children = [CONTEXT.Process(target=take_turns, args=(turns, i, inside, most)) for i in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
        assert child.exitcode == 0
    assert most.min() >= 1
    assert most.max() <= PLACES


@contextmanager
def another_process(work):
    """Forks a process that does `work()`, then waits for its end by SIGKILL."""
    child = os.fork()
    if not child:
        work()
        signal.pause()
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def waits_for_a_lock(pid):
    """Whether the kernel says so."""
    locks = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and str(pid) in line.split() for line in locks)


def test_one_that_waits_is_next():
    """Also where the one before it wants another turn at once."""
    turns, reached = Turns(1), torch.zeros(1).share_memory_()

    def have_a_turn():
        with turns.take(1):
            reached.fill_(1)

    with ExitStack() as stack:
        with turns.take(0):
            other = stack.enter_context(another_process(have_a_turn))
            wait_for(lambda: waits_for_a_lock(other), what="the other to wait")
        with turns.take(0):
            assert reached.item() == 1


@pytest.mark.parametrize("linux", [True, False])
def test_the_turn_of_a_dead_process_is_free(linux, monkeypatch):
    if not linux:
        monkeypatch.delattr(os, "memfd_create")
    turns, reached = Turns(1), torch.zeros(1).share_memory_()

    def keep_a_turn():
        with turns.take(0):
            reached.fill_(1)
            signal.pause()

    with another_process(keep_a_turn):
        wait_for(lambda: reached.item() == 1, what="it to have a turn")
    with turns.take(1):
        pass
