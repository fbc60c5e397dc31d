"""A real run on a machine that has far too little CPU for it."""

import signal

import pytest

from tests.run_tools import TINY, Run

OTHERS = "for i in 1 2 3 4 5 6 7 8; do nice -n 10 sh -c 'while :; do :; done' & done"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_f63_sixteen_workers_beside_other_work_train_and_are_evaluated(tmp_path):
    """All of them at nice 19, on two cores, beside eight processes that never rest and go before them."""
    within = ("taskset", "-c", "0,1", "sh", "-c", f'{OTHERS}; exec nice -n 19 "$0" "$@"')
    flags = ["--env", "CartPole-v1", "--workers", "16", *TINY, "--eval-every", "5", "--checkpoint-every", "5"]
    with Run(tmp_path, *flags, within=within) as run:
        run.wait_until(lambda s: all(w["steps"] > 0 for w in s["workers"]) and s["best_score"], 1200)
        run.wait_until(lambda _: run.checkpoints(), 300)
        status = run.status()
        run.signal(signal.SIGTERM)
        assert run.end(300) == 0, run.output
    assert [w["restarts"] for w in (*status["workers"], status["evaluator"])] == [0] * 17
    kinds = (run.path / "metrics.jsonl").read_text()
    assert '"kind": "train"' in kinds
    assert '"kind": "evaluation"' in kinds
