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

    from a3c.trained.find import find_trained
    from evaluators.sharing.packing import build_package

    trained = find_trained(options.run, flag="RUN")
    out = options.out or Path(f"package-{trained.run_dir.name}")
    if out.exists():
        raise UsageError(f"--out {out} exists already; name another folder")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out {out}: name a folder inside one that exists")
    print(f"{trained.path}: playing {options.num_episodes} games", file=sys.stderr)
    if options.env not in ("", trained.env_id):
        raise UsageError(f"--env {options.env}: {trained.path} was trained in {trained.env_id}")
    results = build_package(trained, out, options.num_episodes, options.seed, options.greedy, options.env)
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
    add("--out", metavar="DIR", type=Path, help="the new folder [default: package- and the run's name]")
    add("--env", metavar="ID", type=Typed, default="", help="the agent's environment, if it is module:Id")
    add(
        "--num-episodes", metavar="N", type=whole_number(LEAST_GAMES, MOST_GAMES), default=LEAST_GAMES,
        help=f"games behind the results [default {LEAST_GAMES}, the least]",
    )  # fmt: skip
    add(
        "--seed", metavar="N", type=whole_number(0, 2**31 - 1 - MOST_GAMES), default=1,
        help="seed of the first game; the others follow [default 1]",
    )  # fmt: skip
    add("--greedy", action="store_true", help="take the likeliest action instead of sampling")
    return parser.parse(argv)


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
