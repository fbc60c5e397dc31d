"""`eval.py` and `a3c eval`: scores, shows or films what was trained.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from a3c.errors import EXIT_OK
from a3c.settings.config import RUNS_FOLDER
from a3c.settings.flags import Parser, device_number, flag_value, output_file, program, whole_number
from a3c.settings.values import Typed, parse_bool

NUM_EPISODES, NUM_SHOWN = 30, 1
"""Games played by default, and by default when they are shown or filmed."""

MAX_EPISODES, MAX_SEED = 10_000, 2**31 - 1

VIDEOS = (".mp4", ".gif")

PUBLISHED = "published"
"""The word for the seeds of an environment's published scores."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = parse(argv)

    from a3c.envs.registry import full_id
    from evaluators.scoring.score import score

    options.env = full_id(options.env)
    score(options)
    return EXIT_OK


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Raises UsageError."""
    parser = Parser(
        program("eval"),
        "Scores what was trained: whole games, unclipped, all lives. Without flags, it takes the best "
        f"checkpoint of the newest run under {RUNS_FOLDER}/ and rebuilds everything from it.",
    )
    switch: dict[str, Any] = {"nargs": "?", "const": True, "default": False, "type": flag_value(parse_bool)}
    switch["metavar"] = "True|False"
    add = parser.add_argument
    add(
        "--env", metavar="ID", type=Typed, default="",
        help="environment to play in [default: the one it was trained in]",
    )  # fmt: skip
    add(
        "--checkpoint", metavar="WHICH", default="",
        help="best, newest, the path of a run, a checkpoint or a package, released:NAME for one that comes "
        "with the program, or hub:USER/NAME for one on the Hugging Face Hub [default: best, else newest]",
    )  # fmt: skip
    add("--run-dir", metavar="DIR", default="", help="the run [default: the newest]")
    add(
        "--num-episodes", "--num-episode", metavar="N", type=whole_number(1, MAX_EPISODES),
        help=f"games [default {NUM_EPISODES}; {NUM_SHOWN} with --render or --video]",
    )  # fmt: skip
    add("--render", **switch, help="show the games in a window, one after another; q closes it")
    add(
        "--video", metavar="FILE", type=output_file(*VIDEOS),
        help="film the games, one after another: .mp4 or .gif",
    )  # fmt: skip
    add(
        "--gpu-id", "--gpu-ids", metavar="ID", type=whole_number(-1, 1023), default=-1,
        help="GPU [default -1: the CPU]",
    )  # fmt: skip
    add(
        "--device", dest="gpu_id", type=lambda text: int(device_number(text)),
        default=argparse.SUPPRESS, help=argparse.SUPPRESS,
    )  # fmt: skip
    add(
        "--seed", metavar="N", type=whole_number(0, MAX_SEED - MAX_EPISODES), default=1,
        help="seed of the first game; the others follow [default 1]",
    )  # fmt: skip
    add(
        "--seeds", dest="named_seeds", metavar=PUBLISHED, choices=(PUBLISHED,), default="",
        help="the seeds of an environment's published scores (Taxi has 100), instead of --seed",
    )  # fmt: skip
    add("--baseline", **switch, help="play the same games with the random agent too")
    add("--greedy", **switch, help="take the likeliest action instead of sampling from the policy")
    add("--json", metavar="FILE", type=output_file(), help="write the result to this file")
    parser.hints = {"deterministic": "it is --greedy here", "load": "it is --checkpoint here"}
    options = parser.parse(argv)
    if options.num_episodes is None and (options.render or options.video):
        options.num_episodes = NUM_SHOWN
    elif options.num_episodes is None and not options.named_seeds:
        options.num_episodes = NUM_EPISODES
    return options
