"""`a3c plot`, learning curves of runs as a picture; `a3c list`, all runs in a table; `a3c compare`, some of
them side by side.

Reading the command line imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from a3c.errors import EXIT_OK, UsageError, printable
from a3c.settings.config import RUNS_FOLDER, settings
from a3c.settings.flags import Parser, flag_value, output_file, whole_number
from a3c.settings.values import parse_number, shown

if TYPE_CHECKING:
    from evaluators.curves.overview import Overview

FORMATS = (".png", ".svg", ".pdf")


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Raises A3CError for what the user can mend."""
    options = _parse(argv)
    if options.aggregate:
        return _aggregate(options)

    from a3c.console.status import find_run
    from evaluators.curves.drawing import draw
    from evaluators.curves.points import read_curves, write_points
    from evaluators.curves.references import Reference, references

    runs = [read_curves(find_run(name)) for name in options.runs or [""]]
    known = {run.config.env.env: references(run.config.env) for run in runs}
    if len(known) > 1:
        print(f"scores of {len(known)} environments are not comparable: each has a panel of its own")
    if options.random is not None:
        for env, marks in known.items():
            others = [mark for mark in marks if mark.name != "random"]
            known[env] = [*others, Reference("random", options.random)]
    draw(runs, options.x, known, options.smooth, options.out)
    print(f"{options.out}: {', '.join(str(run.path) for run in runs)}")
    for mark in itertools.chain.from_iterable(known.values()):
        print(f"  {mark.name}: {mark.score:g}")
    if options.csv:
        write_points(options.csv, runs)
        print(f"{options.csv}: {sum(len(run.points) for run in runs)} points")
    return EXIT_OK


def _aggregate(options: argparse.Namespace) -> int:
    from evaluators.curves.aggregate import aggregate, draw_aggregate, words

    if not options.runs:
        raise UsageError("--aggregate: name the runs, packages or files of `a3c eval --json`")
    table = aggregate(options.runs)
    print("\n".join(words(table)))
    draw_aggregate(table, options.out)
    print(f"written to {options.out}")
    return EXIT_OK


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(
        "a3c plot",
        "Draws the scores of runs as they learned. Runs that differ only in their seeds become one curve "
        "with a band from the lowest to the highest.",
    )
    add = parser.add_argument
    add("runs", metavar="RUN", nargs="*", help="a run's or a package's folder [default: the newest run]")
    add(
        "--aggregate", action="store_true",
        help="what Atari runs, packages and files of a3c eval --json score together, human-normalised",
    )  # fmt: skip
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


# ---------------------------------------------------------------------------------------------------
# a3c list, a3c compare


def list_runs(argv: Sequence[str]) -> int:
    """`a3c list [DIR] [--json]`."""
    parser = Parser("a3c list", "Lists runs and released agents, the newest first, with their scores.")
    text = f"the folder they are in [default: {RUNS_FOLDER}]"
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, default=RUNS_FOLDER, help=text)
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    options = parser.parse(argv)

    from evaluators.curves.overview import overviews

    if options.folder != RUNS_FOLDER and not options.folder.is_dir():
        raise UsageError(f"a3c list {options.folder}: there is no such folder")
    found = overviews(options.folder)
    if options.json:
        print(json.dumps([one.summary() for one in found], indent=2))
        return EXIT_OK
    if not found:
        print(f"no runs in {options.folder}/ yet; start one with python run.py")
    rows = [_row(one) for one in found if not one.trouble]
    if rows:
        _print_table(["run", "env", "algo", "state", "best", "last", "steps", "date"], rows, "llllrrrl")
    for one in found:
        if one.trouble:
            print(printable(f"{one.path}  cannot be read: {one.trouble}"))
    return EXIT_OK


def _row(one: Overview) -> list[str]:
    scores = _score(one.best_score), _score(one.last_score)
    return [str(one.path), one.env, one.algo, one.state, *scores, _count(one.steps), _minute(one.date)]


def compare(argv: Sequence[str]) -> int:
    """`a3c compare RUN RUN... [--json]`. Raises UsageError, CheckpointError or StorageError."""
    parser = Parser("a3c compare", "Shows in which settings runs differ, and their scores, side by side.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="two or more runs, or folders of packages")
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    options = parser.parse(argv)
    if len(options.runs) < 2:
        raise UsageError("a3c compare: name two runs or more; a3c list shows those there are")

    from a3c.storage.find_run import named_run
    from evaluators.curves.overview import are_comparable, differing, overview

    found = [overview(named_run(name).path) for name in options.runs]
    if options.json:
        runs = [one.summary() for one in found]
        print(json.dumps({"runs": runs, "differing_settings": differing(found)}, indent=2))
        return EXIT_OK
    rows = [[settings()[name].flag, *map(_value, row)] for name, row in differing(found).items()]
    rows = rows or [["no setting differs", *("" for _ in found)]]
    results = [_results(one) for one in found]
    rows += [
        ["" for _ in range(len(found) + 1)],
        *([name, *(r[name] for r in results)] for name in results[0]),
    ]
    _print_table(["", *(str(one.path) for one in found)], rows, "l" * (len(found) + 1))
    if not are_comparable(found):
        print("\nscores of different environments or rules are not comparable")
    return EXIT_OK


def _results(one: Overview) -> dict[str, str]:
    from a3c.console.panel import duration

    return {
        "state": one.state,
        "best score": _score(one.best_score),
        "last score": _score(one.last_score),
        "steps": _count(one.steps),
        "time": duration(one.elapsed_s),
        "date": _minute(one.date),
    }


def _minute(date: str) -> str:
    return date[:16].replace("T", " ")


def _print_table(head: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> None:
    """Columns as wide as they need to be; a side is l or r for each."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = zip(row, widths, sides, strict=True)
        words = (cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in cells)
        print(printable("  ".join(words).rstrip()))


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return shown(" ".join(f"{name}={part}" for name, part in value.items()))
    return "-" if value in (None, "", [], ()) else shown(value)


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:,.2f}"


def _count(number: float | None) -> str:
    return "-" if number is None else f"{int(number):,}"
