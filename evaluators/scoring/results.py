"""What an evaluation found: as plain data for a file, and as a table for people."""

from __future__ import annotations

import textwrap
from typing import Any

from a3c.types import EnvSpec
from evaluators.games.episodes import Games
from evaluators.games.stats import Interval, summarise

Results = dict[str, Any]

_MANY_SEEDS = 10  # more than these are not all named


def results_of(games: Games, env: EnvSpec, greedy: bool) -> Results:
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


def table(results: Results) -> str:
    """The numbers in lines."""
    mean, iqm = _number(results["mean"]), _number(results["iqm"])
    lines = [
        ("games", f"{results['n']}: whole, unclipped, all lives; {_seeds(results['seeds'])}"),
        ("actions", "the likeliest (greedy)" if results["greedy"] else "sampled from the policy"),
        ("mean", f"{mean}{_interval(results['mean_interval'])}"),
        ("std", _number(results["std"])),
        ("median", _number(results["median"])),
        ("IQM", f"{iqm}{_interval(results['iqm_interval'])}"),
        ("min", _number(results["min"])),
        ("max", _number(results["max"])),
        ("length", f"{sum(results['lengths']) / results['n']:.0f} steps on average"),
        ("scores", _scores(results)),
        *_exact(results),
    ]
    if "random_mean" in results:
        mean, std = _number(results["random_mean"]), _number(results["random_std"])
        lines.append(("random", f"{mean} on average, std {std}: the random agent in the same games"))
    text = [f"  {name:<8} {value}" for name, value in lines]
    if any(results["truncated"]):
        text.append(f"  * {sum(results['truncated'])} of {results['n']} ended by a limit of time")
    return "\n".join(text)


def _exact(results: Results) -> list[tuple[str, str]]:
    """Of a table: what it is worth in expectation."""
    if "exact_value" not in results:
        return []
    best = f"{results['optimal_value']:.6f}, without watching the clock {results['best_stationary']:.6f}"
    regret = f"{results['regret']:.6f}, from the worst start {results['worst_regret']:.6f}"
    return [
        ("exact", f"{results['exact_value']:.6f} is the expected score, from the transition table"),
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


def _scores(results: Results) -> str:
    marked = zip(results["scores"], results["truncated"], strict=True)
    words = " ".join(_number(score) + ("*" if cut else "") for score, cut in marked)
    return textwrap.fill(words, 90, subsequent_indent=" " * 11)
