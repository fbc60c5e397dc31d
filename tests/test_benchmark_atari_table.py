"""The table of Atari games: what is there is kept, what is missing is said, and nothing is trained twice."""

from __future__ import annotations

import json

import pytest

from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.presets import presets
from benchmarks import atari_table, common


def write_run(run_dir, *rows):
    """A finished run; a row is (env_steps, episodes so far, mean return, explained variance)."""
    run_dir.mkdir(parents=True)
    names = ("env_steps", "episodes", "mean_return", "explained_variance")
    lines = [json.dumps({"kind": "train", **dict(zip(names, row, strict=True))}) + "\n" for row in rows]
    (run_dir / "metrics.jsonl").write_text("".join(lines))
    (run_dir / "config.json").write_text(json.dumps({"settings": {"run": {"max_steps": rows[-1][0]}}}))
    (run_dir / "status.json").write_text(json.dumps({"state": "finished", "steps": rows[-1][0]}))
    return run_dir


def judged(game, seed, mean, steps=10_000_000):
    return {
        "env": f"{game}NoFrameskip-v4", "seed": seed, "env_steps": steps, "hours": 2.5,
        "mean": mean, "std": 12.3, "others_mean": mean + 1, "protocol": "classic",
    }  # fmt: skip


def test_all_games_have_the_numbers_of_one_preset():
    ours, theirs = (dict(presets()[name].settings) for name in ("atari-fast", "breakout-fast"))
    assert ours == theirs


def test_the_page_has_a_row_for_each_training_and_game(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Head\n\n{atari_table.BEGIN}\nold\n{atari_table.END}\n\ntail\n")
    found = [judged("Breakout", 2, 412.25), judged("Breakout", 1, 300.5, 2_500_120), judged("Pong", 1, 20.5)]
    for _ in range(2):  # writing it again changes nothing
        atari_table.write_page(found, page)
    text = page.read_text()
    quarter = "| Breakout | 1 | 2,500,120 | 300 (12.3) | 302 | 2.5 | 280 | 398 | 385 |"
    full = "| Breakout | 2 | 10,000,000 | 412 (12.3) | 413 | 2.5 | 280 | 398 | 385 |"
    assert f"{quarter}\n{full}" in text
    assert "| Pong | 1 | 10,000,000 | 20.5 (12.3) | 21.5 | 2.5 | 17.3 | 21.0 | 20.5 |" in text
    assert "| Qbert | - | - | not trained yet |  |  | 3,882 | 15,627 | - |" in text
    assert text.count("not trained yet") == 5
    assert text.count("human-normalised") == 1  # with a quarter it is one game only
    # Breakout (412.25 - 1.7) / 28.8, Pong (20.5 + 20.7) / 35.3: of two, the mean
    assert "| these 2, human-normalised |  | 10M | 7.71 | 7.74 | 5 | " in text
    assert "old" not in text
    assert text.startswith("# Head")
    assert text.endswith("tail\n")


def test_the_page_there_is_that_of_the_results_there():
    page = atari_table.PAGE.read_text()
    for row in atari_table.rows(atari_table.results()):
        assert "| " + " | ".join(row) + " |" in page


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(atari_table, "RESULTS", tmp_path)
    monkeypatch.setattr(atari_table, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text(atari_table.BEGIN + atari_table.END)
    monkeypatch.setattr(atari_table, "write_page", lambda found: None)
    return tmp_path


def run_it(monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["atari_table", *map(str, argv)])
    return atari_table.main()


def test_finished_runs_are_judged_and_judged_ones_skipped(kept, monkeypatch):
    runs = kept / "runs"
    for name in ("Pong-10M-1", "Breakout-10M-1", "Pong-2.5M-1"):
        write_run(runs / name, (10, 1, 1.0, 0), (1000, 9, 1.0, 0))
    seen = []

    def judge(run_dir, game, seed):
        seen.append(run_dir.name)
        return judged(game, seed, 3.0)

    monkeypatch.setattr(atari_table, "judge", judge)
    for _ in range(2):
        assert run_it(monkeypatch, "--runs", runs, "--games", "Pong", "Breakout", "--seeds", 1) == 0
    shorter = ["--games", "Pong", "--seeds", 1, "--max-steps", "2.5M"]
    assert run_it(monkeypatch, "--runs", runs, *shorter) == 0
    assert seen == ["Pong-10M-1", "Breakout-10M-1", "Pong-2.5M-1"]
    assert len(json.loads((kept / "atari-table-10M.json").read_text())["runs"]) == 2
    assert len(json.loads((kept / "atari-table-2.5M.json").read_text())["runs"]) == 1


def test_time_that_is_over_leaves_the_rest_for_another_day(kept, monkeypatch):
    assert run_it(monkeypatch, "--runs", kept / "runs", "--stop-after", "0") == 0
    assert not (kept / "runs").exists()


@pytest.fixture
def commands(monkeypatch):
    """What is started, in place of starting it."""
    seen = []

    class Process:
        returncode = 0

        def __init__(self, command, **kwargs):
            seen.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(common.subprocess, "Popen", Process)
    return seen


def test_the_limit_of_a_part_ends_with_it(kept, monkeypatch, commands):
    one = ["--runs", kept / "runs", "--games", "Pong", "--seeds", 1]
    for part in (["--stop-after", "1m"], []):
        assert run_it(monkeypatch, *one, *part) == 1  # nothing was trained
    parser = Parser("a3c run", "")
    add_settings(parser)
    given = [given_settings(parser.parse(command[2:])) for command in commands]
    assert [settings["max_time"] for settings in given] == ["60", "0"]


def test_an_unfinished_run_is_gone_on_with(tmp_path, commands):
    run = write_run(tmp_path / "Pong-1", (10, 1, 1.0, 0), (1000, 9, 1.0, 0))
    (run / "status.json").write_text(json.dumps({"state": "finished", "steps": 500}))  # by --max-time
    common.train_on(run, atari_table.flags_of("Pong", 1, 1000))
    common.train_on(tmp_path / "Qbert-1", atari_table.flags_of("Qbert", 1, 1000))
    assert commands[0][-3:] == ["--run-dir", str(run), "--load"]
    assert "--load" not in commands[1]
