from a3c.stores.scoreboard import Scoreboard
from tests.warm import CONTEXT


def add_many(board, row):
    for _ in range(2000):
        board.add(row, {"env_steps": 3, "updates": 1})


def test_rows_add_up_over_processes():
    board = Scoreboard(2, ("loss",)).share()
    board.add(board.main_row, {"env_steps": 100, "updates": 10})  # what a resumed run brought
    children = [CONTEXT.Process(target=add_many, args=(board, row)) for row in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
    assert board.total("env_steps") == 100 + 2 * 2000 * 3
    assert board.counters().updates == 10 + 2 * 2000
    assert board.get(0, "updates") == 2000


def test_phases_and_stop():
    board = Scoreboard(1)
    board.beat(0, "learn")
    assert board.phase(0) == "learn"
    assert board.get(0, "heartbeat") > 0
    assert board.stop == 0
    board.stop = 2
    assert board.stop == 2
    assert "stop" not in board.totals()


def test_the_version_of_the_weights_is_this_machines_alone():
    board = Scoreboard(1, ("loss",))
    board.add(0, {"updates": 5, "env_steps": 50})
    board.add(board.main_row, {"updates": 100, "env_steps": 1000})
    board.put(board.others_row, {"updates": 7, "env_steps": 70})
    assert (board.total("updates"), board.version()) == (112, 105)
    assert board.counters().env_steps == 1120
    assert board.own()["env_steps"] == 1050
    assert set(board.own()) == set(board.sums) == set(board.totals())
