"""`a3c tune`: searches for settings, as a study on disk that goes on where it was stopped.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from a3c.errors import EXIT_OK, UsageError
from a3c.settings.config import Config
from a3c.settings.flags import Parser, flag_value, whole_number
from a3c.settings.values import parse_number
from evaluators.tuning.spaces import load_space, spaces

if TYPE_CHECKING:
    from evaluators.tuning.trial import Launch


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)
    try:
        from evaluators.tuning import study
    except ImportError as error:
        raise UsageError(f"a3c tune needs Optuna ({error}); pip install 'a3c[tune]'") from error
    if options.from_trial:
        study.train_from_trial(options.study, options.from_trial, options.flags)
    study.search(options, _where(options))
    return EXIT_OK


def _where(options: argparse.Namespace) -> Launch:
    """What starts the runs; settles how many trials go on at a time."""
    if options.cluster is None:
        from evaluators.tuning.trial import run_here

        options.parallel = options.parallel or 1
        return run_here
    from a3c.cluster.joining import find_cluster

    given = {"cluster": options.cluster, "cluster_insecure": options.cluster_insecure}
    address = find_cluster(Config().replace(**given)).cluster.cluster
    from a3c.cluster.trials import Cluster

    cluster = Cluster(address)
    options.parallel = options.parallel or cluster.cores
    return cluster.run


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    own, flags = list(argv), []
    if "--" in own:
        cut = own.index("--")
        own, flags = own[:cut], own[cut + 1 :]
    parser = Parser(
        "a3c tune",
        "Searches for settings: every trial trains with `a3c run`, once per seed, and is judged by the mean "
        "score of the last evaluations. Flags after -- go to every run, for example "
        "-- --env CartPole-v1 --max-steps 50k. The same command again goes on with the study.",
    )
    add = parser.add_argument
    add("--space", metavar="NAME", help=f"search space: {', '.join(spaces())}, or a .toml file")
    add("--trials", metavar="N", type=whole_number(1, 10_000), default=20, help="trials in all [default 20]")
    add(
        "--parallel",
        metavar="N",
        type=whole_number(1, 10_000),
        help="trials at a time [default 1, or with --cluster a trial per core]",
    )
    add("--seeds", metavar="N", type=int, nargs="+", default=[1, 2, 3], help="one run each [default 1 2 3]")
    add("--study", metavar="DIR", type=Path, default=Path("studies/study"), help="[default studies/study]")
    add("--study-seed", metavar="N", type=int, default=0, help="of the sampler [default 0]")
    add(
        "--good-enough", metavar="SCORE", type=flag_value(parse_number), help="stop when a trial reaches this"
    )
    add(
        "--cluster",
        metavar="HOST:PORT",
        nargs="?",
        const="auto",
        help="train on a Ray cluster, each trial on a core of any node; without an address, on the one that "
        "this machine is in",
    )
    add("--cluster-insecure", action="store_true", help="take a cluster without a token")
    add("--from-trial", metavar="N", help="train with the settings of trial N, or of the best one")
    options = parser.parse(own)
    options.flags = flags
    if not options.from_trial:
        if not options.space:
            raise UsageError(f"a3c tune needs --space; there are {', '.join(spaces())}")
        options.space = load_space(options.space)
        if options.space.preset and not {"--preset", "--env"} & set(flags):
            options.flags = ["--preset", options.space.preset, *flags]
    return options
