"""The study behind `a3c tune`: Optuna proposes settings, trials train with them, a journal remembers."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import optuna
from optuna.storages import JournalStorage
from optuna.trial import TrialState

from a3c.envs import complete_flags
from a3c.errors import A3CError, CheckpointError, StorageError, UsageError, printable
from a3c.processes.signals import Signals
from a3c.settings.config import resolve, settings
from a3c.settings.flags import Parser, add_settings, given_settings
from a3c.settings.values import convert, names_code, shown, typed
from a3c.storage.atomic import storage_errors
from a3c.storage.run_lock import RunLock
from a3c.storage.tensor_files import one_line
from evaluators.tuning.journal import Journal
from evaluators.tuning.spaces import PATHS, Range, Space
from evaluators.tuning.study_picture import TrialPoint, draw_study
from evaluators.tuning.trial import RUN, Launch, Trial, TrialFailed

JOURNAL, PICTURE = "study.journal", "study.png"
_NAME = "a3c"
_POLL_S = 0.2
_PARTS = 10  # of a run's steps, at which it is compared with earlier trials
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass
class Search:
    """What a search was asked for."""

    study: optuna.Study
    folder: Path
    space: Space
    flags: list[str]
    seeds: list[int]
    max_steps: int  # of one run; 0 where time limits it
    launch: Launch


def search(options: argparse.Namespace, launch: Launch) -> None:
    """Runs trials until there are as many as asked for, then names the best and draws the study; `launch`
    starts each of their runs.

    Raises:
        UsageError: the flags of the runs have mistakes, or the study was begun with others.
        RunDirectoryInUse: another search works on the study.
        A3CError: no trial gave a score.
    """
    max_steps = _check_flags(options.flags, options.space)
    folder = options.study.resolve()
    with storage_errors(f"create {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
    with RunLock(folder):
        study = open_study(folder, options.study_seed)
        _remember(study, options.flags)
        _take_up_interrupted(study)
        job = Search(study, folder, options.space, options.flags, options.seeds, max_steps, launch)
        with Signals() as signals:
            _run_trials(job, options.trials, options.parallel, options.good_enough, signals)
        _conclude(job)


def train_from_trial(folder: Path, which: str, flags: Sequence[str]) -> NoReturn:
    """Becomes a training with the settings of a trial ("best" or its number) and further flags.

    Raises:
        UsageError: there is no such trial.
        CheckpointError: the study's file is damaged, or names code or files that `flags` do not name.
        StorageError: it is no regular file, or cannot be read.
    """
    journal = folder / JOURNAL
    if not os.path.lexists(journal):
        raise UsageError(f"--study {folder}: there is no study; begin one with a3c tune --space NAME")
    study = open_study(folder.resolve(), 0)
    trial = _find_trial(study, which, journal)
    with _reading(journal):
        stored = _stored_flags(study, trial)
    command = [*_checked(stored, flags, journal), *flags]
    print(printable(f"trial {trial.number}: a3c run {' '.join(command)}"), flush=True)
    with _reading(journal):  # of a flag with a null in it, or without end
        os.execv(sys.executable, [sys.executable, *RUN, *command])


def _find_trial(study: optuna.Study, which: str, journal: Path) -> optuna.trial.FrozenTrial:
    with _reading(journal):
        trials = {str(t.number): t for t in study.trials}
        if any(t.state is TrialState.COMPLETE for t in trials.values()):
            trials["best"] = study.best_trial
    if which not in trials:
        raise UsageError(
            f"--from-trial {which}: {journal.parent} has no such trial but {', '.join(trials) or 'none'}"
        )
    return trials[which]


def _stored_flags(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> list[str]:
    """The flags of a trial's runs. Raises ValueError when the study's file gives none."""
    try:
        own = [f"{settings()[name].flag}={value}" for name, value in trial.params.items()]
        return [*map(str, study.user_attrs["flags"]), *own]
    except (KeyError, TypeError) as error:
        raise ValueError(f"no flags of a3c run: {one_line(error)}") from error


def _checked(stored: Sequence[str], flags: Sequence[str], journal: Path) -> list[str]:
    """The flags in a study's file, written anew from what they were understood to be: for the program that
    gets them, a person typed them. Raises CheckpointError when they name code or files that `flags` do not
    name too."""
    parser = Parser("a3c run", "", add_help=False)
    add_settings(parser)
    with _reading(journal):
        kept = given_settings(parser.parse(stored))
        kept_kwargs = _kwargs(kept)
    given = given_settings(parser.parse_known_args(flags)[0])  # a3c run has more flags than settings
    code = {
        "env": ":" in kept.get("env", "") and "env" not in given,
        "env_kwargs": names_code({**kept_kwargs, **typed(_kwargs(given))}),
    }
    files = {name: name in kept and name not in given for name in PATHS}
    for name, refused in {**code, **files}.items():
        if refused:
            flag = settings()[name].flag
            what = "name code, which is imported" if name in code else "name files, which are used"
            raise CheckpointError(
                f"{flag} {shown(kept[name])} of the study may {what} only when it is typed: "
                f"add -- {flag} ..., if you trust it"
            )
    return [word for name, value in kept.items() for word in _words(name, value)]


def _kwargs(given: Mapping[str, Any]) -> dict[str, Any]:
    """The environment's arguments among settings as typed, as they are used. Raises UsageError."""
    s = settings()["env_kwargs"]
    try:
        return dict(convert(given.get(s.name, []), s.type, s.optional, s.kind))
    except ValueError as error:
        raise UsageError(f"{s.flag} {shown(given[s.name])}: {error}") from error


def _words(name: str, value: str | list[str]) -> list[str]:
    flag = settings()[name].flag
    return [f"{flag}={value}"] if isinstance(value, str) else [flag, *value]


@contextmanager
def _reading(journal: Path) -> Iterator[None]:
    """Turns whatever a study's file causes, also inside Optuna, which trusts it, into CheckpointError."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise CheckpointError(f"{journal} is damaged: {one_line(error)}") from error


def open_study(folder: Path, seed: int) -> optuna.Study:
    """The study in a folder, new or as it was left. Raises CheckpointError when its file is damaged, and
    StorageError when that is no regular file."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _reading(folder / JOURNAL):
        return optuna.create_study(
            study_name=_NAME,
            storage=JournalStorage(Journal(folder / JOURNAL)),
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
            direction="maximize",
            load_if_exists=True,
        )


def _check_flags(flags: Sequence[str], space: Space) -> int:
    """Raises UsageError before anything starts; returns the steps of one run."""
    parser = Parser("a3c run", "")
    add_settings(parser)
    given = given_settings(parser.parse(flags))
    for name in ("seed", "run_dir", "load"):
        if name in given:
            raise UsageError(f"{settings()[name].flag} is given to each run by the search; leave it out")
    given = {**complete_flags(given)}
    config = resolve(given)
    for r in space.ranges:
        for value in r.choices or (r.low, r.high):
            resolve({**given, r.name: int(value) if r.whole else value})
    if not (config.run.max_steps or config.run.max_time):
        raise UsageError("a trial must end: add --max-steps or --max-time after --")
    return config.run.max_steps


def _remember(study: optuna.Study, flags: Sequence[str]) -> None:
    """The flags are part of the study: trials with different ones are not comparable."""
    known = study.user_attrs.get("flags")
    if known is not None and known != list(flags):
        begun = " ".join(map(str, known)) if isinstance(known, list) else known
        raise UsageError(f"this study was begun with {begun}; use those flags, or another --study")
    study.set_user_attr("flags", list(flags))


def _take_up_interrupted(study: optuna.Study) -> None:
    """Trials that ran when a search was killed are tried again with the same settings."""
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params, user_attrs={"again": trial.number})
        print(f"trial {trial.number} was interrupted; its settings are tried again")


def _run_trials(job: Search, number: int, parallel: int, good_enough: float | None, signals: Signals) -> None:
    running: dict[int, tuple[optuna.Trial, Trial]] = {}
    try:
        while not signals.requested:
            while len(running) < parallel and len(_ended(job.study)) + len(running) < number:
                asked = job.study.ask()
                running[asked.number] = asked, _start(job, asked)
            if not running:
                return
            for key, (asked, trial) in list(running.items()):
                if _advance(job, asked, trial):
                    del running[key]
            if good_enough is not None and _best_value(job.study) >= good_enough:
                print(f"a trial reached {good_enough:g}")
                return
            time.sleep(_POLL_S)
    finally:
        for _, trial in running.values():
            trial.ask_to_stop()
        for asked, trial in running.values():
            trial.stop()
            job.study.tell(asked, state=TrialState.FAIL)
            job.study.enqueue_trial(asked.params, user_attrs={"again": asked.number})


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that ended, without those that were interrupted and are tried again."""
    again = [t.user_attrs["again"] for t in study.trials if "again" in t.user_attrs]
    return [t for t in study.trials if t.state in _ENDED and t.number not in again]


def _best_value(study: optuna.Study) -> float:
    values = [t.value for t in study.trials if t.state is TrialState.COMPLETE and t.value is not None]
    return max(values, default=float("-inf"))


def _start(job: Search, asked: optuna.Trial) -> Trial:
    parameters = {r.name: _suggest(asked, r) for r in job.space.ranges}
    print(f"trial {asked.number} starts: {_in_words(parameters)}", flush=True)
    return Trial(job.folder / f"trial-{asked.number:03d}", job.flags, parameters, job.seeds, job.launch)


def _suggest(asked: optuna.Trial, r: Range) -> Any:
    if r.choices:
        return asked.suggest_categorical(r.name, r.choices)
    if r.whole:
        return asked.suggest_int(r.name, int(r.low), int(r.high), log=r.log)
    return asked.suggest_float(r.name, r.low, r.high, log=r.log)


def _advance(job: Search, asked: optuna.Trial, trial: Trial) -> bool:
    """Looks after one trial; whether it has ended."""
    try:
        if trial.poll():
            job.study.tell(asked, trial.value)
            print(
                f"trial {asked.number}: {trial.value:g} (seeds: {', '.join(f'{s:g}' for s in trial.scores)})"
            )
            return True
    except TrialFailed as error:
        asked.set_user_attr("failure", str(error))
        job.study.tell(asked, state=TrialState.FAIL)
        print(f"trial {asked.number} failed: {error}")
        return True
    if not trial.scores and _is_hopeless(asked, trial, job.max_steps):
        trial.stop()
        job.study.tell(asked, state=TrialState.PRUNED)
        print(f"trial {asked.number} is stopped early: below the median of the others so far")
        return True
    return False


def _is_hopeless(asked: optuna.Trial, trial: Trial, max_steps: int) -> bool:
    """Compares the evaluations of the first seed with other trials at the same part of the run."""
    if not max_steps:
        return False
    parts = {min(int(_PARTS * steps / max_steps), _PARTS): score for steps, score in trial.evaluations()}
    for part in parts.keys() - trial.reported:
        asked.report(parts[part], part)
        trial.reported.add(part)
    return asked.should_prune()


def _conclude(job: Search) -> None:
    """The table, the picture and the best trial. Raises A3CError when no trial gave a score."""
    trials = _ended(job.study)
    for t in sorted(trials, key=lambda t: t.value if t.value is not None else float("-inf"), reverse=True):
        value = f"{t.value:g}" if t.state is TrialState.COMPLETE else _failure(t)
        print(f"{t.number:4d}  {t.state.name.lower():9}  {value:>10}  {_in_words(t.params)}")
    complete = [t for t in trials if t.state is TrialState.COMPLETE]
    if not trials:
        print("no trial has ended yet")
        return
    if not complete:
        raise A3CError(f"none of {len(trials)} trials gave a score; the last one: {_failure(trials[-1])}")
    logarithmic = [r.name for r in job.space.ranges if r.log]
    draw_study([TrialPoint(t.number, t.value, t.params) for t in trials], logarithmic, job.folder / PICTURE)
    best = job.study.best_trial
    print(f"best: trial {best.number} with {best.value:g}: {_in_words(best.params)}")
    print(f"  its agents: {job.folder / f'trial-{best.number:03d}'}; picture: {job.folder / PICTURE}")
    print(f"  train with its settings: a3c tune --study {job.folder} --from-trial best")


def _failure(trial: optuna.trial.FrozenTrial) -> str:
    return printable(trial.user_attrs.get("failure", "stopped early"))


def _in_words(parameters: dict[str, Any]) -> str:
    words = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in parameters.items())
    return printable(", ".join(words))
