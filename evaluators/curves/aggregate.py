"""`a3c plot --aggregate`: one score over several games and seeds, each on the scale from chance to people."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from a3c.errors import CheckpointError, UsageError
from a3c.settings.values import shown
from a3c.storage.atomic import storage_errors
from a3c.storage.find_run import named_run
from a3c.storage.package_format import RESULTS, is_package
from a3c.storage.records import read_json
from evaluators.curves.drawing import label_axes
from evaluators.curves.points import EVALUATION, read_curves
from evaluators.games.atari_scores import atari_scores, game_of
from evaluators.games.stats import Aggregate, aggregates

_COLOUR, _DPI = "#1f6fb4", 120
_LARGEST = 1e12  # of a score in a file


class RunScore(NamedTuple):
    """The score of one training in one game."""

    env: str
    score: float  # mean of whole games, unclipped
    rules: str  # under which they were played, as far as the file says


class Table(NamedTuple):
    """All of them, on the common scale."""

    games: dict[str, list[float]]  # human-normalised scores of the runs in each game
    found: dict[str, Aggregate]
    rules: list[str]  # the different ones

    @property
    def single(self) -> list[str]:
        """The games of one run: drawing its seeds anew gives the same, so intervals know nothing of them."""
        return sorted(game for game, scores in self.games.items() if len(scores) == 1)

    @property
    def has_intervals(self) -> bool:
        return any(one.interval for one in self.found.values())


def aggregate(names: Sequence[str]) -> Table:
    """The scores of runs (their last evaluation), packages, and files of `a3c eval --json` and
    `benchmarks.atari_table`.

    Raises:
        UsageError: there is no such thing, it has no score, or its game is none of the 57 known ones.
        CheckpointError: a file is damaged.
        StorageError: it cannot be read.
    """
    scores = [score for name in names for score in read_scores(name)]
    games: dict[str, list[float]] = {}
    for one in scores:
        game = game_of(one.env)
        if game not in atari_scores():
            raise UsageError(f"{shown(one.env)}: no human score is known; --aggregate is for 57 Atari games")
        games.setdefault(game, []).append(atari_scores()[game].normalised(one.score))
    rules = sorted({one.rules for one in scores})
    return Table(games, aggregates(list(games.values())), rules)


def read_scores(name: str) -> list[RunScore]:
    """The scores that a name means; see `aggregate`."""
    path = Path(name)
    if os.path.isfile(path):
        return _of_file(path)
    path = named_run(name).path
    if is_package(path):
        return _of_file(path / RESULTS)
    curves = read_curves(path)
    last = [point for point in curves.points if point.kind == EVALUATION][-1:]
    if not last:
        raise UsageError(f"{path} was never evaluated; score it: a3c eval --run-dir {path} --json FILE")
    config = curves.config.env
    return [RunScore(config.env, last[0].score, _rules(config.env, config.protocol))]


def _of_file(path: Path) -> list[RunScore]:
    try:
        with storage_errors(f"read {path}"):
            data = read_json(path)
        rows = data.get("runs", [data])
        if not rows:
            raise ValueError("it has no runs")
        return [_score(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is no result: {type(error).__name__} {error}"[:300]) from error


def _score(row: Mapping[str, Any]) -> RunScore:
    score = row["mean"] if "mean" in row else row["mean_reward"]
    env = row["env"] if "env" in row else row["env_id"]
    if not isinstance(env, str) or isinstance(score, bool) or not abs(float(score)) < _LARGEST:
        raise ValueError("its score or environment is none")
    protocol = row.get("protocol", "")
    protocol = protocol.get("protocol", "") if isinstance(protocol, Mapping) else protocol
    return RunScore(env, float(score), _rules(env, str(protocol)))


def _rules(env: str, protocol: str) -> str:
    """Those of the protocol, and those that the id's form decides: sticky actions, frames per step."""
    return shown(f"{protocol} {env.replace(game_of(env), '*', 1)}")


def words(table: Table) -> list[str]:
    """The numbers in lines."""
    runs = sum(map(len, table.games.values()))
    lines = [f"{len(table.games)} games, {runs} runs; human-normalised: 0 is chance, 1 a person"]
    for name, one in table.found.items():
        interval = "   (95 % interval {:.3f} to {:.3f})".format(*one.interval) if one.interval else ""
        lines.append(f"  {name:<14} {one.value:6.3f}{interval}")
    lines += [
        f"  {game:<14} {sum(s) / len(s):6.3f}   {len(s)} run{'s' * (len(s) > 1)}"
        for game, s in sorted(table.games.items())
    ]
    if len({len(scores) for scores in table.games.values()}) > 1:
        lines.append("games differ in their number of runs; those with more weigh more in IQM and gap")
    if not table.has_intervals:
        lines.append("one run of each game: too few for intervals, which are over the seeds")
    elif table.single:
        lines.append(f"intervals too narrow: of {', '.join(table.single)} there is one run")
    elif len(table.games) < 2:
        lines.append("one game alone: the interval is over its seeds only")
    if len(table.rules) > 1:
        lines.append(f"not all were played by the same rules: {'; '.join(table.rules)}")
    return lines


def draw_aggregate(table: Table, path: Path) -> None:
    """The statistics with their intervals above, the games below. Raises StorageError."""
    games = sorted(table.games.items(), key=lambda item: sum(item[1]) / len(item[1]))
    figure = Figure(figsize=(10, 4.5 + 0.45 * len(games)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(4, max(len(games), 2)))
    found = list(table.found.items())[::-1]
    for place, (_, one) in enumerate(found):
        bars = [[one.value - one.interval.low], [one.interval.high - one.value]] if one.interval else None
        above.errorbar([one.value], [place], xerr=bars, fmt="o", color=_COLOUR, capsize=5, markersize=9)
    runs = sum(map(len, table.games.values()))
    said = "95 % intervals" if table.has_intervals else "too few for intervals"
    label_axes(above, f"{len(games)} games, {runs} runs, {said}", "", "", True)
    above.set_yticks(range(len(found)), [name for name, _ in found])
    for place, (_, scores) in enumerate(games):
        below.barh([place], [sum(scores) / len(scores)], color=_COLOUR, alpha=0.5)
        below.plot(scores, [place] * len(scores), "o", color="black", markersize=4)
    label_axes(below, "", "human-normalised score: 0 chance, 1 a person", "", True)
    below.set_yticks(range(len(games)), [game for game, _ in games])
    below.axvline(1.0, color="0.35", linestyle="--", linewidth=1.5)
    with storage_errors(f"write {path}"):
        figure.savefig(path, dpi=_DPI)
