"""`a3c package`, a folder that holds a trained agent and all that others need to trust and use it, and
`a3c push`, which sends it to the Hugging Face Hub.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from a3c.errors import EXIT_OK, UsageError
from a3c.settings.flags import Parser, whole_number
from a3c.settings.values import Typed

LEAST_GAMES, MOST_GAMES = 30, 1000


def package(argv: Sequence[str]) -> int:
    """`a3c package`: returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)

    from a3c.trained.find import PACKAGE, find_trained
    from evaluators.sharing.packing import Wanted, build_package
    from evaluators.sharing.release import find_release, origin_of, releasing

    recipe = releasing(options.out) if options.out else None
    trained = find_release(options.run, recipe) if recipe else find_trained(options.run, flag="RUN")
    if not options.run and trained.role == PACKAGE:
        raise UsageError("no trained run to package; train one with run.py")
    out = options.out or Path(f"package-{trained.run_dir.name}")
    if out.exists():
        raise UsageError(f"--out {out} exists already; name another folder")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: name a folder inside one that exists")
    if options.env not in ("", trained.env_id):
        raise UsageError(f"--env {options.env}: {trained.path} was trained in {trained.env_id}")
    origin = origin_of(trained, recipe) if recipe else None
    print(f"{trained.path}: playing {options.num_episodes} games", file=sys.stderr)
    greedy = options.greedy or bool(recipe and recipe.greedy)
    games = Wanted(options.num_episodes, options.seed, greedy, options.env)
    results = build_package(trained, out, games, options.half, origin)
    mean, std = results["mean_reward"], results["std_reward"]
    print(f"{out}: mean {mean:.2f} +/- {std:.2f} over {results['n_eval_episodes']} games")
    print(f"mean minus standard deviation, by which some leaderboards rank: {mean - std:.2f}")
    print(f"share it: a3c push USER/NAME {out}")
    return EXIT_OK


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "a3c package",
        "Makes a folder of a trained agent: weights, settings, results, a replay and a model card.",
    )
    add = parser.add_argument
    add("run", metavar="RUN", nargs="?", default="", help="a run or a checkpoint [default: the newest run]")
    add("--run", dest="named_run", metavar="RUN", default="", help=argparse.SUPPRESS)
    add("--out", metavar="DIR", type=Path, help="the new folder [default: package- and the run's name]")
    add("--env", metavar="ID", type=Typed, default="", help="the agent's environment, if it is module:Id")
    add(
        "--num-episodes", "--games", metavar="N", type=whole_number(LEAST_GAMES, MOST_GAMES),
        default=LEAST_GAMES,
        help=f"games behind the results [default {LEAST_GAMES}, the least]",
    )  # fmt: skip
    add(
        "--seed", metavar="N", type=whole_number(0, 2**31 - 1 - MOST_GAMES), default=1,
        help="seed of the first game; the others follow [default 1]",
    )  # fmt: skip
    add("--greedy", action="store_true", help="take the likeliest action instead of sampling")
    add(
        "--half", action="store_true",
        help="keep the weights in 16 bits, if the games they play score the same; takes twice the time",
    )  # fmt: skip
    options = parser.parse(argv)
    if options.run and options.named_run:
        raise UsageError(f"RUN {options.run} and --run {options.named_run}: give only one of them")
    options.run = options.run or options.named_run
    return options


def push(argv: Sequence[str]) -> int:
    """`a3c push`: returns the exit code. Raises A3CError for what the user can mend."""
    parser = Parser("a3c push", "Sends a package (see a3c package) to the Hugging Face Hub, in one commit.")
    parser.add_argument("repo", metavar="REPO", help="user/name; made when it is not there")
    parser.add_argument("folder", metavar="DIR", type=Path, help="the package's folder")
    parser.add_argument("--public", action="store_true", help="make a new repository public, not private")
    options = parser.parse(argv)

    from evaluators.sharing.push import push as send

    print(send(options.repo, options.folder, private=not options.public))
    return EXIT_OK
