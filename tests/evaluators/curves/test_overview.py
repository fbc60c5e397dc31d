"""`a3c list` and `a3c compare`: what there is, and how runs differ."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from a3c.cli import main
from a3c.settings.config import Config, settings
from a3c.storage.records import write_json
from a3c.storage.run_directory import CONFIG, STATUS

WRITTEN = Path(__file__).parents[2] / "data" / "written-by-0.1"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_run(name, status=None, **changes):
    path = Path("checkpoints", name)
    path.mkdir(parents=True)
    config = Config().replace(**{"env": "CartPole-v1", **changes})
    write_json(path / CONFIG, {"run_id": "x", "settings": config.to_dict(), "starts": []})
    if status is not None:
        write_json(path / STATUS, status)
    return path


def finished(best, last, steps, date):
    evaluator = {"last_score": last}
    return {"state": "finished", "best_score": best, "evaluator": evaluator, "steps": steps, "updated": date}


def out(capsys):
    return capsys.readouterr().out.splitlines()


def listed(capsys):
    """The cells of each line below the heading."""
    head, *lines = out(capsys)
    assert head.split() == ["run", "env", "algo", "state", "best", "last", "steps", "date"]
    return [line.split() for line in lines]


def test_runs_are_listed_the_newest_first(capsys):
    make_run("old", finished(200.5, 190, 12345, "2026-01-01T10:00:00+00:00"))
    make_run("new", finished(None, None, 7, "2026-02-01T11:30:59+00:00"), algo="ppo")
    make_run("dead", {"state": "running", "updated": "2025-12-01T00:00:00+00:00"})
    assert main(["list"]) == 0
    assert listed(capsys) == [
        ["checkpoints/new", "CartPole-v1", "ppo", "finished", "-", "-", "7", "2026-02-01", "11:30"],
        [
            *["checkpoints/old", "CartPole-v1", "a3c", "finished", "200.50", "190.00", "12,345"],
            *["2026-01-01", "10:00"],
        ],
        ["checkpoints/dead", "CartPole-v1", "a3c", "died", "-", "-", "-", "2025-12-01", "00:00"],
    ]


def test_released_agents_are_listed_with_the_mean_of_their_games(capsys):
    shutil.copytree(WRITTEN / "package", Path("checkpoints", "released", "cartpole"))
    results = json.loads((WRITTEN / "package" / "results.json").read_text())
    assert main(["list"]) == 0
    ((path, *_, state, mean, last, steps, _, _),) = listed(capsys)
    assert (path, state, last) == ("checkpoints/released/cartpole", "package", "-")
    assert float(mean) == pytest.approx(results["mean_reward"], abs=0.01)
    assert int(steps.replace(",", "")) == results["env_steps"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (CONFIG, "{"),
        (CONFIG, '{"run_id": "x", "settings": {"env": {"env": "\\u001b[31m"}, "x": {}}, "starts": []}'),
        (STATUS, '{"state": "\\u001b[31m", "best_score": "x", "updated": [], "steps": 1e999}'),
        (STATUS, "[]"),
    ],
)
def test_f83_a_run_of_any_kind_takes_one_harmless_line(capsys, name, text):
    make_run("sound", finished(1, 1, 1, "2026-01-01T10:00:00+00:00"))
    (make_run("odd", {}) / name).write_text(text)
    assert main(["list"]) == 0
    lines = out(capsys)
    assert len(lines) == 3
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("checkpoints/odd ")]
    assert main(["list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_f24_no_link_is_followed(capsys, tmp_path):
    run, secret = make_run("run", {}), tmp_path / "secret.json"
    shutil.move(run / CONFIG, secret)
    (run / CONFIG).symlink_to(secret)
    assert main(["list"]) == 0
    (line,) = out(capsys)
    assert line.startswith("checkpoints/run  cannot be read: ")


def test_an_environment_of_a_file_is_not_imported(capsys, tmp_path):
    (tmp_path / "payload.py").write_text("raise SystemExit('ran')")
    make_run("run", {}, env="payload:Thing-v0")
    make_run("other", {})
    assert main(["list"]) == main(["compare", "run", "other"]) == 0
    assert "payload:Thing-v0" in capsys.readouterr().out


def test_nothing_to_list(capsys):
    assert main(["list"]) == 0
    assert out(capsys) == ["no runs in checkpoints/ yet; start one with python run.py"]
    assert main(["list", "nowhere"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
    Path("elsewhere").mkdir()
    assert main(["list", "elsewhere", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_runs_are_compared_by_what_differs(capsys):
    make_run("one", finished(200, 190, 1000, "2026-01-01T10:00:00+00:00"), lr=0.1, run_dir="a")
    make_run("two", finished(100, 90, 2000, "2026-01-01T11:00:00+00:00"), lr=0.2, hidden=(3,))
    assert main(["compare", "one", "checkpoints/two"]) == 0
    cells = [line.split() for line in out(capsys)]
    assert cells[0] == ["checkpoints/one", "checkpoints/two"]
    assert cells[1:3] == [["--lr", "0.1", "0.2"], []]  # neither the place nor a setting of dqn
    assert ["best", "score", "200.00", "100.00"] in cells
    assert ["steps", "1,000", "2,000"] in cells
    assert main(["compare", "one", "two", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["differing_settings"] == {"lr": [0.1, 0.2]}
    assert [run["best_score"] for run in found["runs"]] == [200, 100]


def test_other_rules_are_said_to_be_other_rules(capsys):
    for name, changes in {"one": {}, "two": {"seed": 2}, "three": {"protocol": "machado"}}.items():
        make_run(name, {}, **changes)
    assert main(["compare", "one", "two"]) == 0
    assert "not comparable" not in capsys.readouterr().out
    assert main(["compare", "one", "two", "three"]) == 0
    assert capsys.readouterr().out.endswith("scores of different environments or rules are not comparable\n")


def test_a_run_is_compared_with_a_package(capsys):
    shutil.copytree(WRITTEN, "checkpoints")
    assert main(["compare", "CartPole-v1-ppo", "package"]) == 0
    told = capsys.readouterr().out
    assert "no setting differs" in told  # what a package leaves out of a run's settings is no difference
    assert not any(s.flag in told for s in settings().values())


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["one"], 2, "name two runs or more"),
        ([], 2, "the following arguments are required: RUN"),
        (["one", "nowhere"], 2, "nowhere: there is no such folder"),
        (["one", "broken"], 4, "is damaged"),
    ],
)
def test_mistakes_are_one_line(capsys, argv, code, words):
    make_run("one", {})
    (make_run("broken") / CONFIG).write_text("{")
    assert main(["compare", *argv]) == code
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
