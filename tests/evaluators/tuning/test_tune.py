"""Searching for settings, with real runs."""

import json
import os
import signal
import sys
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from a3c.cli import main
from a3c.errors import StorageError, UsageError
from evaluators.tuning.spaces import load_space, spaces
from evaluators.tuning.study import _in_words, open_study
from evaluators.tuning.study_picture import TrialPoint, draw_study
from evaluators.tuning.trial import Trial, TrialFailed
from tests.run_tools import ROOT, gone, wait_for
from tests.warm import Start, WarmProcess, run_to_the_end

RUN = ["--env", "CartPole-v1", "--workers", "1", "--envs-per-worker", "2", "--eval-episodes", "2"]
ALONE = [*RUN, "--workers", "0"]
SPACE = """
summary = "for the tests"
[parameters.lr]
low = 1e-4
high = 1e-2
log = true
[parameters.num_steps]
low = 4
high = 8
"""


@pytest.fixture
def space(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(SPACE)
    return path


def start(tmp_path, space, *flags):
    """`a3c tune` in a process of its own."""
    command = ("-m", "a3c", "tune", "--space", str(space), "--study", str(tmp_path / "study"),
               "--seeds", "1", "--parallel", "2", *flags)  # fmt: skip
    environ, output = {**os.environ, "PYTHONPATH": str(ROOT)}, str(tmp_path / "output.txt")
    return WarmProcess(Start(command, str(tmp_path), environ, "/dev/null", output, output))


@pytest.mark.parametrize("name", spaces())
def test_the_spaces_that_come_along_are_sound(name):
    assert load_space(name).ranges


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("summary = 'x'\n[parameters.gama]\nlow=0\nhigh=1", "did you mean gamma"),
        ("summary = 'x'\n[parameters.lr]\nlow=1\nhigh=0", "no range"),
        ("summary = 'x'\n[parameters.lr]\nlow=0\nhigh=1\nlog=true", "logarithm"),
        ("[parameters.lr]\nlow=0\nhigh=1", "summary"),
        ("nonsense", "not a search space"),
        (f"summary = 'x'\n[parameters.num_steps]\nlow=1\nhigh={'9' * 401}", "not a number"),
        ("summary = 'x'\n[parameters.num_steps]\nlow=1\nhigh=inf", "not a finite number"),
        (f"summary = {'[' * 5000}{']' * 5000}", "not a search space"),
        ("summary = 'x'\n[parameters.env]\nchoices=['payload:CartPole-v1']", "no setting to search for"),
    ],
)
def test_a_bad_space_is_refused(tmp_path, text, hint):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=hint) as caught:
        load_space(str(path))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("flags", "hint"),
    [
        ([], "needs --space"),
        (["--space", "levls-dqn"], "did you mean levels-dqn"),
        (["--space", "a3c", "--", "--env", "CartPole-v1"], "must end"),
        (["--space", "a3c", "--", "--max-steps", "9", "--seed", "3"], "--seed is given"),
        (["--from-trial", "best", "--study", "nowhere"], "there is no study"),
    ],
)
def test_mistakes_are_told_before_anything_starts(capsys, tmp_path, monkeypatch, flags, hint):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *flags]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_f40_a_killed_search_leaves_nothing_and_goes_on(tmp_path, space):
    study = tmp_path / "study"
    long = start(tmp_path, space, "--trials", "2", "--", *RUN, "--max-steps", "3000")
    wait_for(lambda: len(list(study.glob("trial-*/seed-1/status.json"))) == 2, what="two runs")
    family = psutil.Process(long.pid).children(recursive=True)
    long.send_signal(signal.SIGKILL)
    long.wait(300)
    wait_for(lambda: gone(family), what="the end of the runs")
    again = start(tmp_path, space, "--trials", "2", "--", *RUN, "--max-steps", "3000")
    assert again.wait(300) == 0, (tmp_path / "output.txt").read_text()
    output = (tmp_path / "output.txt").read_text()
    assert output.count("was interrupted; its settings are tried again") == 2
    assert "best: trial" in output
    assert "  fail  " not in output  # those that were cut off have been tried again
    assert (study / "study.png").stat().st_size > 10_000
    scored = [p for p in study.glob("trial-*/seed-1/metrics.jsonl") if '"final": true' in p.read_text()]
    assert len(scored) == 2


def test_f40_a_failed_trial_is_marked_and_the_search_goes_on(tmp_path, space):
    taken = tmp_path / "study" / "trial-000" / "seed-1"
    taken.mkdir(parents=True)
    (taken / "config.json").write_text("{}")  # the first trial's run will refuse its folder
    search = start(tmp_path, space, "--trials", "2", "--", *ALONE, "--max-steps", "200")
    assert search.wait(300) == 0
    output = (tmp_path / "output.txt").read_text()
    assert "trial 0 failed: exit code 2" in output
    assert "best: trial 1" in output


def test_f40_a_search_in_which_every_trial_fails_says_so_and_fails(tmp_path, space):
    for number in range(2):
        taken = tmp_path / "study" / f"trial-{number:03d}" / "seed-1"
        taken.mkdir(parents=True)
        (taken / "config.json").write_text("{}")  # the run will refuse its folder
    search = start(tmp_path, space, "--trials", "2", "--", *RUN, "--max-steps", "200")
    assert search.wait(300) == 1
    *_, last = (tmp_path / "output.txt").read_text().splitlines()
    assert last.startswith("error: none of 2 trials gave a score; the last one: exit code 2: error: ")
    assert "seed-1" in last


def test_f40_a_trial_that_is_killed_leaves_nothing(tmp_path, wait_until):
    flags = [*RUN, "--max-steps", "1M"]
    trial = Trial(tmp_path / "trial", flags, {"lr": 1e-3}, [1])
    wait_until(lambda: (trial.run_dir / "status.json").exists())
    main = psutil.Process(trial._process.pid)
    family = [main, *main.children(recursive=True)]
    main.kill()

    def failed():
        try:
            return trial.poll()
        except TrialFailed as error:
            return str(error)

    wait_until(lambda: failed())
    assert "exit code -9" in failed()
    wait_for(lambda: gone(family[1:]), what="the end of its processes")


def test_a_trial_overlooks_rows_that_are_no_evaluations(tmp_path, monkeypatch):
    monkeypatch.setattr(Trial, "_start", lambda self: setattr(self, "_process", object()))
    trial = Trial(tmp_path, [], {}, [1])
    trial.run_dir.mkdir()
    good = {"kind": "evaluation", "env_steps": 10, "mean": 2.5, "final": True}
    rows = [good, {**good, "mean": "abc"}, {**good, "env_steps": None}, {"kind": "train"}]
    (trial.run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert trial.evaluations() == [(10, 2.5)]
    assert trial._final_score() == 2.5


def test_the_winner_is_reproduced(tmp_path, space):
    search = start(tmp_path, space, "--trials", "1", "--", *ALONE, "--max-steps", "200")
    assert search.wait(300) == 0, (tmp_path / "output.txt").read_text()
    winner = ("-m", "a3c", "tune", "--study", "study", "--from-trial", "best", "--", "--dry-run")
    done = run_to_the_end(*winner, cwd=tmp_path, environ={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout.partition("\n")[2])
    saved = json.loads(Path(tmp_path, "study", "trial-000", "seed-1", "config.json").read_text())["settings"]
    assert settings["optim"]["lr"] == saved["optim"]["lr"]
    assert settings["learn"]["num_steps"] == saved["learn"]["num_steps"]


@pytest.mark.parametrize(
    "journal",
    [
        "garbage",
        '{"op_code": 0}',
        '{"op_code": 0, "worker_id": "x", "study_name": "a3c", "directions": [2]}\n9',
    ],
)
def test_a_damaged_study_takes_one_line(capsys, tmp_path, journal):
    (tmp_path / "study.journal").write_text(journal + "\n")
    assert main(["tune", "--study", str(tmp_path), "--from-trial", "best"]) == 4
    error = capsys.readouterr().err
    assert "study.journal is damaged" in error
    assert len(error.splitlines()) == 1


def test_a_study_of_something_else_takes_one_line(capsys, tmp_path):
    study = open_study(tmp_path, 0)
    asked = study.ask()
    asked.suggest_float("nothing", 0, 1)
    study.tell(asked, 1.0)
    study.set_user_attr("flags", ["--env", "CartPole-v1"])
    assert main(["tune", "--study", str(tmp_path), "--from-trial", "best"]) == 4
    error = capsys.readouterr().err
    assert "no flags of a3c run: 'nothing'" in error
    assert len(error.splitlines()) == 1


def study_of(folder, stored):
    """A study with one trial, whose runs had these flags."""
    study = open_study(folder, 0)
    study.set_user_attr("flags", stored)
    study.tell(study.ask(), 1.0)


def from_best(folder, *flags):
    return main(["tune", "--study", str(folder), "--from-trial", "best", "--", *flags])


@pytest.fixture
def started(monkeypatch):
    """The commands that were started, without the interpreter."""
    commands = []

    def execv(_, command):
        commands.append(command[4:])
        sys.exit(0)  # as it never returns

    monkeypatch.setattr(os, "execv", execv)
    return commands


CARTPOLE = ["--env", "CartPole-v1"]


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        (["--env", "payload:CartPole-v1"], []),
        (["--env", "payload:1"], []),
        ([*CARTPOLE, "--env-kwargs", "a=payload:Thing"], []),
        ([*CARTPOLE, "--env-kwargs", 'a="payload\\u003aX"'], []),
        ([*CARTPOLE, "--env-kwargs", 'a=["payload\\u003a1"]'], []),
        ([*CARTPOLE, "--env-kwargs", "a=payload:Thing"], ["--env-kwargs", "b=1"]),
    ],
)
def test_f49_a_study_names_no_code(capsys, tmp_path, started, stored, typed):
    study_of(tmp_path, stored)
    assert from_best(tmp_path, *typed) == 4
    error = capsys.readouterr().err
    assert "may name code, which is imported only when it is typed: add -- --env" in error
    assert len(error.splitlines()) == 1
    assert not started


@pytest.mark.parametrize("stored", ["--run-dir=/x", "--init-from=/x", "--load=/x", "--load"])
def test_f49_a_study_names_no_files(capsys, tmp_path, started, stored):
    study_of(tmp_path, [*CARTPOLE, stored])
    assert from_best(tmp_path) == 4
    error = capsys.readouterr().err
    flag = stored.partition("=")[0]
    assert "may name files, which are used only when it is typed: add -- " + flag in error
    assert len(error.splitlines()) == 1
    assert not started


def test_what_is_typed_counts_where_a_study_is_not_trusted(tmp_path, started):
    study_of(tmp_path, ["--env", "m:A-v0", "--env-kwargs", "a=m:f", "b=1", "--run-dir", "/x", "--no-amsgrad"])
    typed = ["--env", "m:B-v0", "--env-kwargs", "a=m:g", "--run-dir", "/y"]
    with pytest.raises(SystemExit):
        from_best(tmp_path, *typed)
    stored = ["--env=m:A-v0", "--env-kwargs", "a=m:f", "b=1", "--run-dir=/x", "--amsgrad=False"]
    assert started == [[*stored, *typed]]


@pytest.mark.parametrize(
    "stored", [5, None, ["--help"], ["--dry-run"], ["--env"], [*CARTPOLE, "--env-kwargs", "a=" + 9999 * "["]]
)
def test_flags_of_a_study_that_are_none_take_one_line(capsys, tmp_path, started, stored):
    study_of(tmp_path, stored)
    assert from_best(tmp_path) == 4
    output = capsys.readouterr()
    assert "study.journal is damaged" in output.err
    assert len(output.err.splitlines()) == 1
    assert not output.out
    assert not started


def test_flags_that_no_program_can_be_given_take_one_line(capsys, tmp_path):
    study_of(tmp_path, ["--env", "CartPole\0-v1"])
    assert from_best(tmp_path) == 4
    assert "null byte" in capsys.readouterr().err


def test_f83_flags_of_a_study_are_printed_harmlessly(capsys, tmp_path, started):
    study_of(tmp_path, ["--env", "Cart\x1b[31mPole"])
    with pytest.raises(SystemExit):
        from_best(tmp_path)
    assert capsys.readouterr().out == "trial 0: a3c run --env=Cart\\x1b[31mPole\n"
    assert started == [["--env=Cart\x1b[31mPole"]]


def test_f83_settings_of_a_study_are_printed_harmlessly():
    assert _in_words({"a\x1b[31m": "b\x07"}) == "a\\x1b[31m b\\x07"


def _foreign(kind, path):
    outside = path.parent / "outside"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to(outside)
    elif kind == "hard link":
        outside.write_text("")
        path.hardlink_to(outside)
    else:
        path.mkdir()
    return outside


@pytest.mark.parametrize("kind", ["pipe", "link", "hard link", "folder"])
@pytest.mark.parametrize("flags", [["--from-trial", "best"], ["--space", "a3c"]])
def test_f80_a_journal_that_is_no_file_is_refused(capsys, tmp_path, kind, flags):
    outside = _foreign(kind, tmp_path / "study.journal")
    assert main(["tune", "--study", str(tmp_path), *flags, "--", *ALONE, "--max-steps", "9"]) == 6
    error = capsys.readouterr().err
    assert "study.journal: it " in error
    assert "remove it" in error
    assert len(error.splitlines()) == 1
    assert not outside.exists() or not outside.read_text()


@pytest.mark.parametrize("kind", ["pipe", "link", "hard link", "folder"])
def test_f80_nothing_is_locked_beside_a_journal(tmp_path, kind):
    _foreign(kind, tmp_path / "study.journal.lock")
    study_of(tmp_path, CARTPOLE)
    assert len(open_study(tmp_path, 0).trials) == 1


def test_a_journal_of_optunas_own_backend_is_read(tmp_path):
    own = JournalStorage(JournalFileBackend(str(tmp_path / "study.journal")))
    study = optuna.create_study(study_name="a3c", storage=own, direction="maximize")
    study.tell(study.ask(), 3.0)
    ours = open_study(tmp_path, 0)
    assert ours.best_value == 3.0
    ours.tell(ours.ask(), 4.0)
    assert study.best_value == 4.0


@pytest.mark.parametrize("kind", ["pipe", "link", "hard link", "folder"])
def test_f80_a_trial_writes_through_nothing(tmp_path, kind):
    folder = tmp_path / "trial"
    folder.mkdir()
    _foreign(kind, folder / "seed-1.log")
    with pytest.raises(StorageError, match=r"seed-1.log: it .*remove it"):
        Trial(folder, [], {}, [1])


def test_f80_a_trial_is_in_the_folder_of_its_study(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "trial").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="it is a link"):
        Trial(tmp_path / "trial", [], {}, [1])


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_f80_the_picture_replaces_what_is_there(tmp_path, kind):
    outside = _foreign(kind, tmp_path / "study.png")
    draw_study([TrialPoint(0, 1.0, {"lr": 0.1})], [], tmp_path / "study.png")
    assert (tmp_path / "study.png").read_bytes().startswith(b"\x89PNG")
    assert not outside.exists()
