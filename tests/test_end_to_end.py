"""run.py and eval.py as users start them, on the real emulator."""

import json

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a3c.errors import EXIT_CHECKPOINT
from a3c.networks.actor_critic import A3Clstm
from a3c.networks.bodies import BACKGROUND
from a3c.settings.config import from_dict
from a3c.storage.checkpoint import read_checkpoint
from a3c.training.session import mean_picture
from tests.run_tools import TINY, Run, script

SMALL = ["--model", "a3c-small", *TINY]
UNSCORED = [*TINY, "--eval-every", "0"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A short training on Breakout, run to its end."""
    folder = tmp_path_factory.mktemp("breakout")
    with Run(folder, "--env", "Breakout-v0", "--workers", "2", "--max-steps", "600", *SMALL) as run:
        code = run.end()
    assert code == 0, run.output
    return run


def test_a_run_ends_at_its_steps_with_all_it_should_leave(finished):
    status = finished.status()
    assert status["state"] == "finished"
    assert 600 <= status["steps"] <= 600 + 2 * 2 * 5
    assert status["frames"] > 2 * status["steps"]
    assert [w["state"] for w in status["workers"]] == ["done", "done"]
    assert status["best_score"] is not None
    assert "finished: --max-steps 600 is reached" in finished.output
    assert "sticky 0.25, frame skip 2-4 (random), protocol classic" in finished.output
    assert "Traceback" not in finished.output
    config = json.loads((finished.path / "config.json").read_text())
    assert config["settings"]["learn"]["model"] == "a3c-small"
    assert config["starts"][0]["command"][:2] == ["python", "run.py"]
    newest = read_checkpoint(finished.checkpoints()[-1])
    assert newest.state["counters"]["env_steps"] == status["steps"]
    assert finished.checkpoints("best")


def test_tensorboard_holds_the_curves(finished):
    events = EventAccumulator(str(finished.path)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"eval/score_mean", "train/entropy", "train/grad_norm", "train/explained_variance"} <= tags
    assert {"train/mean_lag", "speed/steps_per_second"} <= tags
    steps = [e.step for e in events.Scalars("train/entropy")]
    assert steps == sorted(steps)
    assert events.Tags()["graph"]


def test_metrics_are_lines_of_json(finished):
    rows = [json.loads(line) for line in (finished.path / "metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"train", "evaluation", "recheck"}


def test_eval_scores_the_same_twice(finished, tmp_path):
    scores = []
    for name in ("a.json", "b.json"):
        done = script(
            "eval.py", "--checkpoint", str(finished.path), "--num-episodes", "2", "--json", name, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
        scores.append(json.loads((tmp_path / name).read_text()))
    assert scores[0]["scores"] == scores[1]["scores"]
    wanted = {
        "n",
        "scores",
        "mean",
        "std",
        "median",
        "min",
        "max",
        "seeds",
        "greedy",
        "protocol",
        "env_steps",
    }
    assert wanted <= set(scores[0])
    assert scores[0]["n"] == 2
    assert "Breakout-v0" in done.stdout


def test_eval_films_a_game(finished, tmp_path):
    done = script(
        "eval.py",
        "--checkpoint",
        str(finished.path),
        "--num-episode",
        "1",
        "--video",
        "game.mp4",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    video = cv2.VideoCapture(str(tmp_path / "game.mp4"))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) > 20
    ok, picture = video.read()
    assert ok
    assert picture.shape[2] == 3


def test_a_directory_that_holds_a_run_is_refused(finished):
    with Run(finished.path.parent, "--env", "Breakout-v0", *SMALL) as again:
        assert again.end() == 2
    assert "already holds a run" in again.output
    assert "--load" in again.output


def test_a_finished_run_with_nothing_to_do_says_so_and_writes_nothing(finished):
    def written():
        paths = [path for path in finished.path.rglob("*") if path.name != "lock"]
        return {path: path.stat().st_mtime_ns for path in paths if path.is_file()}

    before, steps = written(), finished.status()["steps"]
    with Run(finished.path.parent, "--load") as again:
        assert again.end() == 0, again.output
    assert written() == before
    (line,) = [line for line in again.output.splitlines() if not line.startswith("note: ")]
    assert f"{finished.path} is finished: --max-steps" in line
    assert line.endswith(f"train on with --load {finished.path} --max-steps MORE, more than {steps}")


def test_a_finished_run_goes_on(finished):
    before = finished.status()["steps"]
    with Run(finished.path.parent, "--load", "--max-steps", str(before + 200)) as run:
        assert run.end() == 0, run.output
    assert run.status()["steps"] >= before + 200
    starts = json.loads((run.path / "config.json").read_text())["starts"]
    assert len(starts) == 2
    events = EventAccumulator(str(run.path)).Reload()
    steps = [e.step for e in events.Scalars("train/entropy")]
    assert steps == sorted(steps)
    assert steps[-1] > before


def test_original_weights_start_a_run(tmp_path):
    """A state dict as rl_a3c_pytorch saves it, with torch.save, by name."""
    original = A3Clstm(1, 4).state_dict()
    assert (original.pop(BACKGROUND) == 128).all()  # theirs have none
    torch.save(original, tmp_path / "Breakout-v0.dat")
    flags = ["--env", "Breakout-v0", "--workers", "0", "--max-steps", "10", "--lr", "0", *UNSCORED]
    with Run(tmp_path, *flags, "--init-from", str(tmp_path / "Breakout-v0.dat")) as run:
        assert run.end() == 0, run.output
    saved = read_checkpoint(run.checkpoints()[-1]).model
    for name, tensor in original.items():
        assert torch.equal(saved[name], tensor), name
    assert (saved[BACKGROUND] == 128).all()


def test_original_weights_see_one_frame(tmp_path):
    torch.save(A3Clstm(1, 6).state_dict(), tmp_path / "Pong-v0.dat")
    flags = ["--env", "Pong-v0", "--frame-stack", "4", "--workers", "0", *TINY]
    with Run(tmp_path, *flags, "--init-from", str(tmp_path / "Pong-v0.dat")) as run:
        assert run.end() == EXIT_CHECKPOINT
    (error,) = [line for line in run.output.splitlines() if line.startswith("error:")]
    assert "--frame-stack" in error


def test_weights_of_another_game_start_a_run_in_part(tmp_path):
    pong = A3Clstm(1, 6).state_dict()
    torch.save(pong, tmp_path / "Pong-v0.dat")
    flags = ["--env", "Breakout-v0", "--workers", "0", "--max-steps", "10", "--lr", "0", *UNSCORED]
    with Run(tmp_path, *flags, "--init-from", str(tmp_path / "Pong-v0.dat"), "--partial") as run:
        assert run.end() == 0, run.output
    assert "the others fresh: actor_linear.weight is [6, 512], not [4, 512]; actor_linear.bias" in run.output
    saved = read_checkpoint(run.checkpoints()[-1]).model
    assert torch.equal(saved["conv1.weight"], pong["conv1.weight"])
    assert saved["actor_linear.weight"].shape == (4, 512)


def test_the_background_is_measured_once_and_not_learned(finished, tmp_path):
    measured = read_checkpoint(finished.checkpoints()[-1])
    config = from_dict(measured.state["config"], "the checkpoint")
    assert np.array_equal(measured.model[BACKGROUND], mean_picture(config))
    # Weights of ours bring theirs along, whatever random play with another seed looks like.
    flags = ["--env", "Breakout-v0", "--workers", "0", "--max-steps", "10", "--seed", "5", *UNSCORED]
    flags += ["--model", "a3c-small"]
    with Run(tmp_path, *flags, "--init-from", str(finished.checkpoints()[-1])) as run:
        assert run.end() == 0, run.output
    assert torch.equal(read_checkpoint(run.checkpoints()[-1]).model[BACKGROUND], measured.model[BACKGROUND])


def test_one_process_is_bit_reproducible_whatever_threads_there_could_be(tmp_path):
    flags = ["--preset", "cartpole-ppo", "--workers", "0", "--max-steps", "3k", "--eval-every", "0"]
    models = []
    for threads in ("1", "2"):  # as many as there are cores, where nothing is said
        env = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), threads)
        with Run(tmp_path, *flags, run_dir=threads, env=env) as run:
            assert run.end() == 0, run.output
        models.append(read_checkpoint(run.checkpoints()[-1]).model)
    for name, tensor in models[0].items():
        assert torch.equal(tensor, models[1][name]), name


def test_target_score_ends_a_run(tmp_path):
    flags = ["--env", "CartPole-v1", "--workers", "1", "--eval-every", "0.5", "--target-score", "1", *TINY]
    with Run(tmp_path, *flags) as run:
        assert run.end() == 0, run.output
    assert "reached --target-score 1" in run.output
    assert run.checkpoints()


def test_max_time_ends_a_run(tmp_path):
    with Run(tmp_path, "--env", "CartPole-v1", "--workers", "0", "--max-time", "2s", *TINY) as run:
        assert run.end() == 0, run.output
    assert "--max-time 2 s is over" in run.output
