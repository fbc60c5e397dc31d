"""The `a3c` command: a table of subcommands, each imported only when it is asked for.

`run.py` and `eval.py` are `a3c run` and `a3c eval` under their own names. This is where the parts are put
together: training is handed the evaluator, which `a3c` does not import elsewhere (but for `a3c.api`).
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import signal
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from a3c import __version__
from a3c.console.streams import UnbreakableStream
from a3c.errors import EXIT_OK, EXIT_SIGNAL, A3CError, UsageError
from a3c.processes.descriptors import fill_standard_descriptors, output_that_never_waits
from a3c.processes.guardian import guarded
from a3c.processes.mps import without_mps
from a3c.settings.config import RUNS_FOLDER, Config
from a3c.settings.cores import usable_cores, workers_at_a_time
from a3c.settings.flags import Parser, add_settings, given_settings, program
from a3c.settings.presets import presets
from a3c.settings.values import did_you_mean
from a3c.system import ELSEWHERE, LINUX

if TYPE_CHECKING:
    from a3c.training.trainer import Ended


class Command(NamedTuple):
    """A subcommand: a function that takes its arguments and returns the exit code."""

    help: str
    module: str
    function: str
    plays: bool = False  # builds environments, which may start processes


COMMANDS = {
    "run": Command("train agents; also python run.py", "a3c.cli", "run", True),
    "eval": Command(
        "score, show or film a trained agent; also python eval.py", "evaluators.scoring.command", "main", True
    ),
    "levels": Command(
        "rank levels of the frozen lake by difficulty", "evaluators.levels.command", "main", True
    ),
    "tune": Command("search for settings", "evaluators.tuning.command", "main", True),
    "package": Command(
        "make a folder of a trained agent, to share", "evaluators.sharing.command", "package", True
    ),
    "push": Command("send such a folder to the Hugging Face Hub", "evaluators.sharing.command", "push"),
    "plot": Command("draw learning curves", "evaluators.curves.command", "main"),
    "list": Command("list runs and released agents", "evaluators.curves.command", "list_runs"),
    "compare": Command("show runs side by side", "evaluators.curves.command", "compare"),
    "play": Command("play a game by keyboard, or watch an agent", "evaluators.showing.command", "main", True),
    "status": Command("show a run from another shell", "a3c.console.status", "status"),
    "stop": Command("stop a run, with a last checkpoint", "a3c.console.status", "stop"),
    "restart-worker": Command("replace one process of a run", "a3c.console.restart", "restart_worker"),
    "presets": Command("list the named settings, or show one", "a3c.cli", "show_presets"),
    "doctor": Command("check this machine", "a3c.console.doctor", "doctor"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; every mistake of the user becomes one line and an exit code."""
    fill_standard_descriptors()
    try:
        name, *rest = _choose(sys.argv[1:] if argv is None else argv)
        command = COMMANDS[name]
        with guarded() if command.plays else nullcontext("") as trouble:
            if trouble:
                _note(trouble)
            return int(getattr(importlib.import_module(command.module), command.function)(rest))
    except A3CError as error:
        _print_error(error)
        return error.exit_code
    except KeyboardInterrupt:
        return EXIT_SIGNAL + signal.SIGINT
    except BrokenPipeError:
        return EXIT_SIGNAL + signal.SIGPIPE
    finally:
        UnbreakableStream(sys.stdout).settle()


def _print_error(error: A3CError) -> None:
    """Also where nobody reads it: a run must end all the same."""
    stream = UnbreakableStream(sys.stderr)
    stream.write(f"error: {error}\n")
    stream.settle()


def _choose(argv: Sequence[str]) -> list[str]:
    """The subcommand's name and its own arguments."""
    if argv and argv[0] in COMMANDS:
        return list(argv)
    width = max(map(len, COMMANDS))
    parser = Parser("a3c", "A3C-style multiprocess actor-learner training.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "commands:\n" + "\n".join(f"  {n:{width}}  {c.help}" for n, c in COMMANDS.items())
    parser.add_argument("--version", action="version", version=f"a3c {__version__}")
    parser.add_argument("command", metavar="COMMAND", help="one of those below; each has its own --help")
    name = parser.parse(argv[:1] or ["--help"]).command
    raise UsageError(f"a3c {name}: no such command{did_you_mean(name, COMMANDS) or '; see a3c --help'}")


# ---------------------------------------------------------------------------------------------------
# a3c run


def run(argv: Sequence[str]) -> int:
    """`a3c run` and `python run.py`."""
    train_as_told(argv)
    return EXIT_OK


def train_as_told(argv: Sequence[str]) -> Ended | None:
    """Settles everything that can be wrong in the flags of `a3c run`, then trains; None after --dry-run.
    Raises A3CError."""
    parser = Parser(
        program("run"),
        "Trains agents: worker processes improve one shared network. A TIME is written 90, 90s, 10m, 1.5h or "
        "1h30m, a COUNT 1000, 1e6 or 500k.",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the settings as JSON and start nothing")
    add_settings(parser)
    options, given = _read_flags(parser, argv)
    with output_that_never_waits():
        config = _settle(given)
        if not options.dry_run:
            from a3c.training.trainer import Evaluators, train
            from evaluators.process.evaluator import Evaluator, run_evaluator

            command = [*program("run").split(), *argv]
            evaluators = Evaluators(run_evaluator, Evaluator)
            if not config.cluster.cluster:
                return train(config, command, evaluators)
            from a3c.cluster.joining import find_cluster, lead

            return train(find_cluster(config), command, evaluators, lead)
    print(json.dumps(config.to_dict(), indent=2))
    return None


def _read_flags(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Parsed flags and, of these, the settings. Raises UsageError with all mistakes at once."""
    options, unknown = parser.parse_known_args(argv)
    given = given_settings(options)
    mistakes = parser.mistakes(unknown)
    if mistakes:
        try:
            _config(given)
        except UsageError as error:
            mistakes.append(str(error))
        raise UsageError("; ".join(mistakes))
    return options, given


def _settle(given: dict[str, Any]) -> Config:
    """The complete settings of a new or continued run; starts and creates nothing."""
    from a3c.envs import resolve_env

    config = resolve_env(_config(given))
    _check_system()
    _check_devices(config)
    _check_tracking(config)
    return config


def _config(given: dict[str, Any]) -> Config:
    """The settings that do not need to know what the environment is like, but for the algorithm."""
    from a3c.envs import complete_flags
    from a3c.storage.find_run import choose_config

    return choose_config(RUNS_FOLDER, complete_flags(given))


def _check_devices(config: Config) -> None:
    """Refuses GPUs that are not there. Only counts them: CUDA is first set up in the workers."""
    import torch

    count = torch.cuda.device_count()
    missing = [str(gpu) for gpu in config.run.gpu_ids if gpu >= count]
    if missing:
        there = f"this machine has {', '.join(map(str, range(count)))}" if count else "no GPU was found here"
        raise UsageError(f"--gpu-ids {' '.join(missing)}: {there}; without --gpu-ids the CPU does the work")
    if not config.run.gpu_ids:
        _note("running on the CPU" + (f"; --gpu-ids takes 0 to {count - 1}" if count else ": no GPU found"))
    workers, cores, active = config.run.workers, usable_cores(), workers_at_a_time(config.run)
    if crowded := without_mps(config.run.gpu_ids, cores if workers is None else workers):
        _note(crowded)
    if workers is not None and workers > cores:
        how = f", {active} at a time" if active < workers else ""
        _note(f"{workers} workers share {cores} cores{how}; more than {cores} workers make it no faster")


def _check_system() -> None:
    if not LINUX:
        _note(ELSEWHERE)


def _check_tracking(config: Config) -> None:
    """Refuses --track where wandb is not installed; a mere folder of that name has no origin."""
    library = importlib.util.find_spec("wandb") if config.eval.track else None
    if config.eval.track and (library is None or library.origin is None):
        raise UsageError('--track needs wandb: pip install "a3c[track]"; without it: --no-track')


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


# ---------------------------------------------------------------------------------------------------
# a3c presets


def show_presets(argv: Sequence[str]) -> int:
    """`a3c presets [NAME]`: one line for each, or the settings of one."""
    parser = Parser("a3c presets", "Lists the presets: named settings that need no further flags.")
    parser.add_argument("name", metavar="NAME", nargs="?", help="show the settings of this one")
    name = parser.parse(argv).name
    if name is None:
        width = max(map(len, presets()))
        for preset in presets().values():
            print(f"{preset.name:{width}}  {preset.summary}")
        return EXIT_OK
    if name not in presets():
        raise UsageError(f"a3c presets {name}: no such preset{did_you_mean(name, presets())}")
    for key, value in presets()[name].settings.items():
        print(f"{key} = {json.dumps(value)}")
    return EXIT_OK
