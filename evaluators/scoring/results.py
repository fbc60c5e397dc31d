"""What an evaluation found: as plain data for a file, and as a table for people."""

from __future__ import annotations

import textwrap
from typing import Any

from a3c.types import EnvSpec
from evaluators.games.episodes import Games
from evaluators.games.stats import Interval, summarise

Report = dict[str, Any]

_MANY_SEEDS = 10  # more than these are not all named


def make_report(games: Games, env: EnvSpec, greedy: bool) -> Report:
    """The scores, their statistics, and under which rules they were made."""
    s = summarise(games.scores)
    return {
        "n": s.n,
        "scores": games.scores,
        "mean": s.mean,
        "std": s.std,
        "median": s.median,
        "min": s.min,
        "max": s.max,
        "iqm": s.iqm,
        "mean_interval": list(s.mean_interval),
        "iqm_interval": list(s.iqm_interval),
        "seeds": list(games.seeds),
        "lengths": games.lengths,
        "frames": [episode.frames for episode in games.episodes],
        "truncated": [episode.truncated for episode in games.episodes],
        "action_share": games.action_share,
        "greedy": greedy,
        "env": env.env_id,
        "protocol": env.protocol,
        "sticky": env.sticky,
        "frame_skip": list(env.frame_skip),
        "frame_cap": env.frame_cap,
        "step_cap": env.step_cap,
        "preprocessing": env.preprocessing,
        "action_meanings": list(env.action_meanings),
    }


def table(report: Report) -> str:
    """The report's numbers in lines."""
    mean, iqm = _number(report["mean"]), _number(report["iqm"])
    lines = [
        ("games", f"{report['n']}: whole, unclipped, all lives; {_seeds(report['seeds'])}"),
        ("actions", "the likeliest (greedy)" if report["greedy"] else "sampled from the policy"),
        ("mean", f"{mean}{_interval(report['mean_interval'])}"),
        ("std", _number(report["std"])),
        ("median", _number(report["median"])),
        ("IQM", f"{iqm}{_interval(report['iqm_interval'])}"),
        ("min", _number(report["min"])),
        ("max", _number(report["max"])),
        ("length", f"{sum(report['lengths']) / report['n']:.0f} steps on average"),
        ("scores", _scores(report)),
        *_exact(report),
    ]
    if "random_mean" in report:
        mean, std = _number(report["random_mean"]), _number(report["random_std"])
        lines.append(("random", f"{mean} on average, std {std}: the random agent in the same games"))
    text = [f"  {name:<8} {value}" for name, value in lines]
    if any(report["truncated"]):
        text.append(f"  * {sum(report['truncated'])} cut by a limit before its end: at least this score")
    return "\n".join(text)


def _exact(report: Report) -> list[tuple[str, str]]:
    """Of a table: what it is worth in expectation."""
    if "exact_value" not in report:
        return []
    best = f"{report['optimal_value']:.6f}, without watching the clock {report['best_stationary']:.6f}"
    regret = f"{report['regret']:.6f}, from the worst start {report['worst_regret']:.6f}"
    return [
        ("exact", f"{report['exact_value']:.6f} is the expected score, from the transition table"),
        ("optimum", best),
        ("regret", regret),
    ]


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _interval(interval: Interval) -> str:
    low, high = interval
    return f"   (95 % interval {_number(low)} to {_number(high)})" if low < high else ""


def _seeds(seeds: list[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    if len(seeds) > _MANY_SEEDS:
        return f"seeds {', '.join(map(str, seeds[:3]))} to {seeds[-1]}, given by a list"
    return f"seeds {', '.join(map(str, seeds))}"


def _scores(report: Report) -> str:
    marked = zip(report["scores"], report["truncated"], strict=True)
    words = " ".join(_number(score) + ("*" if cut else "") for score, cut in marked)
    return textwrap.fill(words, 90, subsequent_indent=" " * 11)
