"""Released agents: found by name anywhere, shown where nothing was trained yet, whole, and small."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from a3c.cli import main
from a3c.errors import UsageError
from a3c.storage import released
from a3c.storage.package_format import verify_package
from tests.evaluators.curves.test_plots import evaluation, train
from tests.evaluators.scoring.test_score import make_run

MOST_BYTES = 25_000_000
THERE = Path(released.FOLDER)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A folder like a clone's, with one released agent."""
    home = tmp_path_factory.mktemp("clone")
    run = make_run(home / "run", ("ckpt", 500), max_episode_steps=40)
    rows = [train(100, 9.0), evaluation(100, 8.0, 12.0), train(200, 15.0)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["package", str(run), "--out", str(home / "packed")]) == 0
    place = home / "checkpoints" / "released"
    place.mkdir(parents=True)
    (home / "packed").rename(place / "cartpole")
    (place / "released.toml").write_text(
        '[pong]\nflags = "--preset pong-fast"\n\n[cartpole]\nflags = "--env CartPole-v1 --seed 7"\n'
    )
    return home


@pytest.fixture
def here(clone, monkeypatch):
    monkeypatch.setattr(released, "FOLDER", clone.resolve() / "checkpoints" / "released")
    monkeypatch.chdir(clone)
    return clone


def test_where_nothing_was_trained_a_released_agent_plays_and_says_what_it_is(here, capsys):
    assert main(["eval", "--num-episodes", "2"]) == 0
    out = capsys.readouterr().out
    assert "a package, 500 steps of training" in out
    assert "nothing was trained here yet" in out
    assert "a3c run --env CartPole-v1 --seed 7" in out


def test_only_one_of_the_environment_that_is_asked_for(here, capsys):
    assert main(["eval", "--env", "Acrobot-v1"]) == 2
    assert "no trained run of Acrobot-v1 under checkpoints/" in capsys.readouterr().err
    assert main(["eval", "--env", "CartPole-v1", "--num-episodes", "1"]) == 0


def test_elsewhere_nothing_is_played_unasked(here, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["eval"]) == 2
    assert "no trained run under checkpoints/" in capsys.readouterr().err


TRAINING = "run --env CartPole-v1 --workers 0 --max-steps 64 --eval-every 0 --num-steps 4 --init-from"


@pytest.mark.parametrize(
    "command", ["eval --num-episodes 1 --checkpoint", "compare released:cartpole", "plot", TRAINING]
)
def test_its_name_is_taken_anywhere(command, here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main([*command.split(), "released:cartpole"]) == 0


def test_it_is_listed(here, capsys):
    assert main(["list"]) == 0
    assert "checkpoints/released/cartpole" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [["eval", "--checkpoint"], ["play", "--watch"], ["levels", "--run"], ["plot"], ["package"]]
)
def test_unknown_names_list_what_there_is(command, here, monkeypatch, capsys):
    monkeypatch.setattr("evaluators.showing.command._display", lambda window: None)
    assert main([*command, "released:cartpol"]) == 2
    error = capsys.readouterr().err
    assert "no such released agent; did you mean cartpole?; there are cartpole" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("name", ["pong", "", "../../run", "cartpole/../../../run"])
def test_only_what_is_listed_and_there_has_a_name(name, here):
    with pytest.raises(UsageError, match="no such released agent"):
        released.released_path(f"released:{name}", "--checkpoint")


def test_without_any_it_is_said_where_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(released, "FOLDER", tmp_path)
    with pytest.raises(UsageError, match="a clone of the repository has them"):
        released.released_path("released:pong", "--checkpoint")


def test_its_weights_alone_are_no_run_to_go_on_with(here, capsys):
    assert main(["run", "--env", "CartPole-v1", "--load", "released:cartpole"]) == 2
    assert "start from them with --init-from" in capsys.readouterr().err
    assert main(["run", "--env", "CartPole-v1", "--run-dir", "released:cartpole"]) == 2


def test_a_changed_one_is_refused(here, tmp_path, monkeypatch, capsys):
    place = tmp_path / "checkpoints" / "released"
    shutil.copytree(here / "checkpoints" / "released", place)
    monkeypatch.setattr(released, "FOLDER", place.resolve())
    path = place / "cartpole" / "config.json"
    path.write_bytes(path.read_bytes().replace(b"CartPole-v1", b"CartPole-v0", 1))
    assert main(["eval", "--checkpoint", "released:cartpole"]) == 4


# ---------------------------------------------------------------------------------------------------
# Those that are there


def test_all_that_are_there_have_a_recipe_and_are_small():
    folders = {path.name for path in THERE.iterdir() if path.is_dir()}
    assert folders == set(released.released())
    assert sum(path.stat().st_size for path in THERE.rglob("*") if path.is_file()) <= MOST_BYTES


@pytest.mark.parametrize("name", released.released())
def test_each_is_whole_and_says_how_it_was_trained(name):
    recipe = released.recipes()[name]
    files = verify_package(recipe.path)
    assert {"README.md", "results.json", "metrics.csv", "replay.mp4"} <= set(files)
    results = json.loads(files["results.json"].read_text())
    assert results["n_eval_episodes"] >= 100
    assert results["training"]["command"] == recipe.command
    card = files["README.md"].read_text()
    assert f"\n{recipe.command}\n" in card
    assert f"make reproduce AGENT={name}" in card
    assert results["training"]["processor"] in card


@pytest.mark.parametrize("name", released.released())
def test_the_page_has_its_score(name):
    results = json.loads((released.recipes()[name].path / "results.json").read_text())
    page = (THERE.parents[1] / "docs" / "sharing.md").read_text()
    (line,) = (line for line in page.splitlines() if line.startswith(f"| [`{name}`]"))
    mean, deviation, games = (results[key] for key in ("mean_reward", "std_reward", "n_eval_episodes"))
    assert f"{mean:.2f} ({deviation:.2f}) of {games:,}, " in line
    assert ("sampled" not in line) == results["is_deterministic"]


@pytest.mark.parametrize("name", released.released())
def test_what_its_command_trains_is_what_it_was_trained_with(name):
    from a3c.settings.config import from_dict
    from a3c.storage.package_format import folder, read_package
    from evaluators.sharing.release import config_of

    recipe = released.recipes()[name]
    saved = from_dict(read_package(folder(recipe.path), name).state["config"], name)
    told = config_of(recipe)
    assert told.run.seed == saved.run.seed
    assert told.learn == saved.learn


@pytest.mark.parametrize("name", released.released())
def test_each_still_plays(name):
    """What is changed in networks, settings or environments must not leave it behind."""
    from a3c.envs import make_env
    from a3c.trained.find import find_trained, rebuild
    from evaluators.games.episodes import finish, play

    agent = rebuild(find_trained(f"released:{name}"), "", 1, "cpu", greedy=False)
    envs = make_env(agent.config.env, [1], training=False)
    assert finish(play(agent.policy, envs, (1,), step_limit=20)).lengths[0] > 0
    envs.close()
