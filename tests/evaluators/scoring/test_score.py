"""eval.py from its flags to its table, on runs as the trainer leaves them."""

import json
import os
import re
import shutil
import time
from dataclasses import replace

import cv2
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a3c.cli import main
from a3c.errors import CheckpointError
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG
from a3c.storage.saving import Progress
from a3c.stores.scoreboard import STOP_AND_SCORE
from a3c.trained.find import find_trained
from a3c.types import Counters
from evaluators.process.contest import FIRST_SEED
from evaluators.process.evaluator import Evaluator
from tests.evaluators.fakes import Told, make_session, train_a_little


def make_run(path, *checkpoints, **settings):
    """A run directory with these (kind, step) checkpoints, of weights that differ."""
    session = make_session(path, **settings)
    write_json(path / CONFIG, {"run_id": "x", "settings": session.config.to_dict(), "starts": []})
    for kind, step in checkpoints:
        record = {"mean": float(step), "env_steps": step} if kind == "best" else None
        session.saver().save(session.memory.snapshot(), Progress(Counters(env_steps=step), 1.0, record), kind)
        session.memory.weights.mul_(1.01)
    return path


def evaluate(*argv):
    return main(["eval", *map(str, argv)])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder without a display."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def cartpole(here):
    (here / "checkpoints").mkdir()
    return make_run(here / "checkpoints" / "CartPole-v1-a3c", ("best", 500), ("ckpt", 900))


@pytest.fixture(scope="module")
def breakout(tmp_path_factory):
    """Games are cut after 60 steps, and so are quick."""
    settings = {"env": "Breakout-v0", "model": "a3c-small", "max_episode_steps": 60}
    return make_run(tmp_path_factory.mktemp("runs") / "breakout", ("ckpt", 100), **settings)


# -- Finding


def test_without_flags_the_best_of_the_newest_run_plays(cartpole, capsys):
    assert evaluate() == 0
    out = capsys.readouterr().out
    assert f"{cartpole.resolve()}/best-000000500: a3c with mlp, the best checkpoint, 500 steps" in out
    assert "30: whole, unclipped, all lives; seeds 1 to 30" in out
    assert "sampled from the policy" in out
    assert "on cpu" in out


def test_the_newest_plays_where_there_is_no_best(cartpole, capsys):
    shutil.rmtree(cartpole / "best-000000500")
    assert evaluate("--num-episodes", 2) == 0
    assert "ckpt-000000900: a3c with mlp, the newest checkpoint" in capsys.readouterr().out


def test_a_checkpoint_can_be_named_in_many_ways(cartpole):
    root = cartpole.parent

    def found(*args, **kwargs):
        trained = find_trained(*args, root=root, **kwargs)
        return trained.path.name, trained.role

    best, newest = ("best-000000500", "best"), ("ckpt-000000900", "newest")
    assert found() == found("best") == found(str(cartpole)) == found("", str(cartpole)) == best
    assert found("newest") == found("newest", str(cartpole)) == newest
    assert found(str(cartpole / "ckpt-000000900")) == ("ckpt-000000900", "named")
    assert found(env="CartPole-v1") == best


def test_a_run_without_the_checkpoint_that_is_asked_for(here):
    path = make_run(here / "young")
    for which, words in (("", "has no checkpoint yet"), ("best", "has no best checkpoint yet")):
        with pytest.raises(CheckpointError, match=words):
            find_trained(which, str(path))


def test_of_several_runs_the_newest_with_a_checkpoint_counts(cartpole):
    root = cartpole.parent
    make_run(root / "empty")
    (root / "broken").mkdir()
    (root / "broken" / CONFIG).write_text("{")
    other = make_run(root / "Acrobot-v1-a3c", ("ckpt", 10), env="Acrobot-v1")
    os.utime(cartpole / CONFIG, (time.time() + 60,) * 2)
    assert find_trained(root=root).run_dir == cartpole.resolve()
    assert find_trained(env="Acrobot-v1", root=root).run_dir == other.resolve()


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        ([], 2, "no trained run under checkpoints/"),
        (["--env", "Pong-v4"], 2, "no trained run of Pong-v4 under checkpoints/"),
        (["--checkpoint", "nowhere"], 2, "--checkpoint nowhere: there is no such folder"),
        (["--checkpoint", "x" * 300], 2, "there is no such folder"),  # too long for a file's name
        (["--run-dir", "nowhere"], 2, "--run-dir nowhere: there is no such folder"),
        (["--run-dir", "."], 2, "--run-dir . is neither a run directory"),
        (["--checkpoint", "."], 4, "cannot read MANIFEST.json"),
        (["--gpu-id", "999"], 2, "--gpu-id 999: "),
        (["--video", "a.avi"], 2, "must end in .mp4 or .gif"),
        (["--json", "no/such.json"], 2, "--json: no/such.json: name a file in a folder that exists"),
        (["--num-episodes", "0"], 2, "is not from 1"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_played(here, capsys, argv, code, words):
    assert evaluate(*argv) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_f21_a_damaged_best_one_is_told_and_the_newest_plays(cartpole, capsys, caplog):
    (cartpole / "best-000000500" / "model.safetensors").write_bytes(b"torn")
    assert evaluate("--num-episodes", 1) == 0
    assert "ckpt-000000900" in capsys.readouterr().out
    assert "taking the newest instead" in caplog.text
    assert (cartpole / "best-000000500").is_dir()  # nothing is renamed in a run that may be training
    assert evaluate("--checkpoint", cartpole / "best-000000500") == 4
    assert "is damaged" in capsys.readouterr().err


# -- Playing


def test_json_says_everything(cartpole, capsys):
    assert evaluate("--num-episodes", 4, "--seed", 11, "--json", "result.json") == 0
    result = json.loads((cartpole.parents[1] / "result.json").read_text())
    wanted = "n scores mean std median min max seeds greedy protocol env_steps"
    assert set(wanted.split()) <= set(result)
    assert (result["n"], len(result["scores"]), result["seeds"]) == (4, 4, [11, 12, 13, 14])
    assert (result["env"], result["env_steps"], result["greedy"], result["protocol"]) == (
        "CartPole-v1", 500, False, "none",
    )  # fmt: skip
    assert result["mean"] == pytest.approx(sum(result["scores"]) / 4)
    assert result["truncated"] == [length == 500 for length in result["lengths"]]
    assert "result written to result.json" in capsys.readouterr().out


@pytest.mark.parametrize("how", [[], ["--greedy"]])
def test_the_same_seeds_give_the_same_scores_on_the_emulator(here, breakout, capsys, how):
    results = []
    for name in ("a.json", "b.json"):
        assert evaluate("--checkpoint", breakout, "--num-episodes", 2, "--json", name, *how) == 0
        results.append(json.loads((here / name).read_text()))
    assert results[0] == results[1]
    assert results[0]["sticky"] == 0.25
    assert results[0]["frame_skip"] == [2, 4]
    assert results[0]["frame_cap"] == 108_000
    assert results[0]["greedy"] is bool(how)
    out = capsys.readouterr().out
    assert "sticky 0.25, frame skip 2-4 (random), protocol classic" in out
    assert "cap 108000 frames" in out


@pytest.mark.parametrize(
    "settings", [{}, {"env": "Breakout-v0", "model": "a3c-small", "max_episode_steps": 60}]
)
def test_it_finds_the_score_that_tensorboard_shows(here, settings):
    session = make_session(here / "run", eval_episodes=3, **settings)
    write_json(session.run_dir / CONFIG, {"run_id": "x", "settings": session.config.to_dict(), "starts": []})
    evaluator = Evaluator(session, Told())
    train_a_little(session)
    session.board.stop = STOP_AND_SCORE
    while not evaluator.finished:
        evaluator.tick()
    (shown,) = EventAccumulator(str(session.run_dir)).Reload().Scalars("eval/score_mean")
    flags = ["--checkpoint", "newest", "--num-episodes", 3, "--seed", FIRST_SEED, "--json", "r.json"]
    assert evaluate("--run-dir", session.run_dir, *flags) == 0
    found = json.loads((here / "r.json").read_text())
    assert (found["env_steps"], found["mean"]) == (shown.step, pytest.approx(shown.value))
    assert len(set(found["lengths"])) > 1 or settings  # not the same whatever is played


def test_games_cut_by_a_limit_are_marked(here, breakout, capsys):
    assert evaluate("--run-dir", breakout, "--num-episodes", 2) == 0
    out = capsys.readouterr().out
    assert "2 of 2 ended by a limit of time" in out
    assert re.search(r"scores +\d\* \d\*\n", out)


# -- Other environments


def test_another_environment_with_the_same_network_plays_by_its_own_rules(cartpole, capsys):
    assert evaluate("--run-dir", cartpole, "--env", "CartPole-v0", "--num-episodes", 2) == 0
    assert "trained in CartPole-v1; other rules here: step_cap 200, not 500" in capsys.readouterr().out


def test_another_version_of_the_game_plays_too(here, breakout, capsys):
    assert evaluate("--run-dir", breakout, "--env", "BreakoutNoFrameskip-v4", "--num-episodes", 1) == 0
    out = capsys.readouterr().out
    assert "sticky 0, frame skip 4" in out
    assert "other rules here: sticky 0.0, not 0.25; frame_skip [4, 4], not [2, 4]; step_cap 0, not 60" in out


@pytest.mark.parametrize(
    ("env", "code", "words"),
    [
        ("Acrobot-v1", 4, "num_actions is 2, not 3"),
        ("Breakout-v0", 4, "was not trained for Breakout-v0"),
        ("CartPoel-v1", 2, "did you mean CartPole-v1"),
    ],
)
def test_an_environment_that_does_not_fit_is_refused(cartpole, capsys, env, code, words):
    assert evaluate("--run-dir", cartpole, "--env", env) == code
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_f25_an_environment_that_has_changed_is_refused(cartpole, capsys):
    session = make_session(cartpole / "other")
    saver = replace(session.saver(), env_spec=replace(session.env, step_cap=123))
    saver.save(session.memory.snapshot(), Progress(Counters(env_steps=1), 1.0))
    assert evaluate("--checkpoint", cartpole / "other") == 4
    assert "step_cap is 123, not 500" in capsys.readouterr().err


# -- Showing


def decode(path):
    capture = cv2.VideoCapture(str(path))
    count = 0
    while capture.read()[0]:
        count += 1
    return count, capture.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(("name", "fps"), [("game.mp4", 20), ("game.gif", 20)])
def test_a_film_has_a_picture_for_every_step(here, breakout, capsys, name, fps):
    flags = ["--num-episodes", 2, "--json", "r.json"]
    assert evaluate("--run-dir", breakout, "--video", name, *flags) == 0
    result = json.loads((here / "r.json").read_text())
    assert decode(here / name) == (sum(result["lengths"]), fps)
    assert f"{sum(result['lengths'])} pictures written to {name}" in capsys.readouterr().out


def test_the_games_filmed_are_the_games_scored(here, breakout):
    results = []
    for film in ([], ["--video", "games.gif"]):
        assert evaluate("--run-dir", breakout, "--num-episodes", 3, "--json", "r.json", *film) == 0
        results.append(json.loads((here / "r.json").read_text()))
    assert results[0] == results[1]


def test_other_environments_are_filmed_at_their_own_rate(cartpole):
    assert evaluate("--run-dir", cartpole, "--video", "pole.mp4", "--json", "r.json") == 0
    (length,) = json.loads((cartpole.parents[1] / "r.json").read_text())["lengths"]
    assert decode(cartpole.parents[1] / "pole.mp4") == (length, 50)


def test_render_without_a_display_says_so_and_films(cartpole, capsys, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    assert evaluate("--render", "True") == 0
    film = cartpole / "game-000000500.mp4"
    out = capsys.readouterr().out
    assert "there is no display (DISPLAY is not set), so a video is written to" in out
    assert decode(film)[0] > 5


def test_render_with_a_display_that_does_not_work_films_too(cartpole, capsys, monkeypatch):
    monkeypatch.delenv("SDL_VIDEODRIVER")
    monkeypatch.setenv("DISPLAY", ":987")
    assert evaluate("--render") == 0
    assert "the display :987 cannot be used" in capsys.readouterr().out
    assert (cartpole / "game-000000500.mp4").exists()


def test_an_agent_is_scored_where_nothing_can_be_drawn(here, capsys, monkeypatch):
    run = make_run(here / "run", ("ckpt", 10))
    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.render", lambda self: None)
    assert evaluate("--run-dir", run, "--video", "pole.mp4", "--num-episodes", 2) == 0
    captured = capsys.readouterr()
    trouble = "CartPole-v1 cannot be drawn: NoneType [] of object is no picture"
    assert captured.err == f"warning: no pictures: {trouble}\n"
    assert "games    2: whole" in captured.out
    assert not (here / "pole.mp4").exists()
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert evaluate("--run-dir", run, "--render") == 0
    captured = capsys.readouterr()
    assert captured.err == f"warning: {trouble}; nothing is shown\n"
    assert "games    1: whole" in captured.out


def test_games_in_a_window_are_scored_and_escape_closes_it(cartpole, capsys, monkeypatch):
    import pygame

    from evaluators.showing.game_window import GameWindow

    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr(
        "evaluators.showing.stage.Stage.wait_for_time", lambda self, least_s=0.0: self._next(0)
    )
    shown, show = [], GameWindow.show

    def look(window, status, game, keys):
        show(window, status, game, keys)
        shown.append(status)
        if status.startswith("CartPole-v1   game 2") and "step 5" in status:
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_ESCAPE))

    monkeypatch.setattr(GameWindow, "show", look)
    assert evaluate("--render", "--num-episodes", 3, "--json", "r.json") == 0
    result = json.loads((cartpole.parents[1] / "r.json").read_text())
    assert result["seeds"] == [1]
    assert len(shown) == result["lengths"][0] + 5
