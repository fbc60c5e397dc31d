"""`a3c plot`: learning curves of runs as a picture.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from a3c.errors import EXIT_OK
from a3c.settings.flags import Parser, flag_value, output_file, whole_number
from a3c.settings.values import parse_number

FORMATS = (".png", ".svg", ".pdf")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)

    from a3c.console.status import find_run
    from evaluators.curves.drawing import draw
    from evaluators.curves.points import read_curves, write_points
    from evaluators.curves.references import Reference, references

    runs = [read_curves(find_run(name)) for name in options.runs or [""]]
    known = references(runs[0].config.env) if len({run.config.env.env for run in runs}) == 1 else []
    if options.random is not None:
        known = [mark for mark in known if mark.name != "random"] + [Reference("random", options.random)]
    draw(runs, options.x, known, options.smooth, options.out)
    print(f"{options.out}: {', '.join(str(run.path) for run in runs)}")
    for mark in known:
        print(f"  {mark.name}: {mark.score:g}")
    if options.csv:
        write_points(options.csv, runs)
        print(f"{options.csv}: {sum(len(run.points) for run in runs)} points")
    return EXIT_OK


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "a3c plot",
        "Draws the scores of runs as they learned. Runs that differ only in their seeds become one curve "
        "with a band from the lowest to the highest.",
    )
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="*", help="a run's folder [default: the newest run]")
    add(
        "--x", metavar="AXIS", choices=("steps", "frames", "episodes", "time"), default="steps",
        help="steps, frames, episodes or time [default steps]",
    )  # fmt: skip
    add(
        "--out", metavar="FILE", type=output_file(*FORMATS), default="curve.png",
        help=f"the picture: {', '.join(FORMATS)} [default curve.png]",
    )  # fmt: skip
    add("--csv", metavar="FILE", type=output_file(), help="write the points to this file")
    add(
        "--random", metavar="SCORE", type=flag_value(parse_number),
        help="score of the random agent, drawn as a line [default: where it is known]",
    )  # fmt: skip
    add(
        "--smooth", metavar="N", type=whole_number(1, 10_000), default=10,
        help="points in the moving average of training [default 10]",
    )  # fmt: skip
    return parser.parse(argv)
