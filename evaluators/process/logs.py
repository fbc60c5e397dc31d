"""A run's curves on one axis of env_steps: TensorBoard events, lines of `metrics.jsonl`, Weights & Biases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from a3c.agents.make import make_policy
from a3c.settings.algorithms import ALGOS
from a3c.settings.config import Config, Setting, settings
from a3c.storage.atomic import replace_file
from a3c.storage.records import JsonLines, read_json_lines, read_lines
from a3c.storage.run_directory import METRICS
from a3c.storage.sinks import Clock
from a3c.types import Counters, EnvSpec
from evaluators.process.clip import Clip
from evaluators.process.tracking import Tracker
from evaluators.process.writer import TensorBoard

_LEARNED_WITH = ("workers", "seed", "max_steps", "preset")
"""Of the settings of the run itself, those that what is learned depends on."""


class RunLogs:
    """Writes all of them; what cannot be written is dropped, and `warn` is called once.

    Args:
        run_dir: events go into it directly, where `tensorboard --logdir` finds each run by its name.
        resumed_at: env_steps from which a run goes on; what was logged beyond them is forgotten.
        warn: takes one line.
        clock: seconds.
        tracker: gets every point too, with `--track`.
    """

    def __init__(
        self,
        run_dir: Path,
        resumed_at: int | None,
        warn: Callable[[str], None],
        clock: Clock = time.monotonic,
        tracker: Tracker | None = None,
    ) -> None:
        self._tensorboard = TensorBoard(run_dir, None if resumed_at is None else resumed_at + 1, clock)
        self._curves: dict[str, TensorBoard | Tracker] = {"TensorBoard events": self._tensorboard}
        if tracker is not None:
            self._curves["points for Weights & Biases"] = tracker
        self._metrics = JsonLines(run_dir / METRICS, clock)
        self._warn = warn
        self._failing: set[str] = set()
        if resumed_at is not None:
            try:
                if damaged := forget_after(run_dir / METRICS, resumed_at):
                    warn(f"{METRICS}: {damaged} rows cannot be read and are left out")
            except OSError as error:
                warn(f"{METRICS} keeps rows beyond step {resumed_at}, where this run goes on: {error}")
        self._shown = last_steps(run_dir / METRICS)

    def write(
        self,
        kind: str,
        counters: Counters,
        wall_s: float,
        row: Mapping[str, Any],
        points: Mapping[str, float],
    ) -> None:
        """One row of `kind` and its points, at the env_steps of `counters`.

        A second row of a kind at the same step is kept, but has no points: a curve has one value at a step.
        """
        place = {"env_steps": counters.env_steps, "frames": counters.frames, "updates": counters.updates}
        self._metrics.append({"kind": kind, **place, "wall_s": wall_s, **row})
        if counters.env_steps > self._shown.get(kind, -1):
            self._shown[kind] = counters.env_steps
            for curves in self._curves.values():
                curves.add_scalars(points, counters.env_steps)
        for name, sink in {METRICS: self._metrics, **self._curves}.items():
            self._note(name, sink)

    def show_game(self, clip: Clip, step: int) -> None:
        """How a game of the best weights ended."""
        self._tensorboard.add_gif("eval/best_game", *clip.encode(), step)

    def describe(self, config: Config, env: EnvSpec, step: int) -> None:
        """The resolved settings and the environment, as texts of TensorBoard; the settings in its HParams tab
        too."""
        self._tensorboard.add_hparams(hparams(config))
        self._tensorboard.add_text("config", settings_table(config), step)
        self._tensorboard.add_text("environment", env.describe(), step)

    def draw_network(self, config: Config, env: EnvSpec) -> None:
        """The network as TensorBoard's graph, where the tracer understands it."""
        plain = config.replace(precision="fp32")  # the tracer does not know packed weights
        network = getattr(make_policy(plain, env, 0, "cpu", greedy=False), "network", None)
        if network is None:  # a table
            return
        example = torch.zeros((1, *env.observation_shape), dtype=getattr(torch, env.observation_dtype))
        try:
            self._tensorboard.add_graph(network, (example, network.initial_state(1)))
        except Exception as error:  # of many kinds; and a picture is not worth a run
            self._warn(f"TensorBoard gets no graph of the network: {error}")

    def close(self) -> None:
        """Closes the files, and lets the last points leave."""
        for sink in (self._metrics, *self._curves.values()):
            sink.close()

    def _note(self, name: str, sink: TensorBoard | Tracker | JsonLines) -> None:
        if sink.error and name not in self._failing:
            self._failing.add(name)
            self._warn(f"{name} cannot be written and are dropped until they can: {sink.error}")
        elif not sink.error and name in self._failing:
            self._failing.remove(name)
            self._warn(f"{name} are written again; {sink.dropped} were dropped so far")


def settings_table(config: Config) -> str:
    """The settings that the run goes by, as a table of Markdown: those that differ from their defaults are
    bold; those of other algorithms, or of other kinds of environments, are left out."""
    rows = []
    for s, value in used_settings(config):
        shown, usual = shown_value(value), shown_value(s.default)
        rows.append(f"| {s.flag} | {shown if value == s.default else f'**{shown}**'} | {usual} |")
    return "\n".join(["| setting | value | default |", "|---|---|---|", *rows])


def hparams(config: Config) -> dict[str, bool | float | str]:
    """The settings that what is learned depends on, as TensorBoard's HParams tab takes them."""
    return {
        s.name: value if isinstance(value, bool | int | float) else shown_value(value)
        for s, value in used_settings(config)
        if s.group not in ("eval", "run") or s.name in _LEARNED_WITH
    }


def used_settings(config: Config) -> Iterator[tuple[Setting, Any]]:
    """The settings that the run goes by, with their values, without those of other algorithms, or of other
    kinds of environments."""
    for s in settings().values():
        value = config.get(s.name)
        if value not in (None, "", (), {}) and config.learn.algo in (s.algos or ALGOS):
            yield s, value


def shown_value(value: Any) -> str:
    """As it is typed on the command line; nothing for what depends on the environment."""
    if isinstance(value, dict):
        return " ".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def forget_after(path: Path, env_steps: int) -> int:
    """Removes the rows of a metrics file beyond `env_steps`: a resumed run goes through those steps again.

    Returns:
        How many rows could not be read; they are removed too.

    Raises:
        OSError: the file could not be read or replaced; it is as it was.
    """
    if not path.exists():
        return 0
    steps = [_steps(line) for line in read_lines(path)]
    if any(step is None or step > env_steps for step in steps):
        rows = zip(read_lines(path), steps, strict=False)
        replace_file(path, (line for line, step in rows if step is not None and step <= env_steps))
    return steps.count(None)


def last_steps(path: Path) -> dict[str, int]:
    """The env_steps of the last row of each kind in a metrics file; none when it cannot be read."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for row in read_json_lines(path):
            kind, steps = row.get("kind"), row.get("env_steps")
            if isinstance(kind, str) and type(steps) is int:
                found[kind] = steps
    return found


def _steps(line: bytes) -> int | None:
    try:
        steps = json.loads(line)["env_steps"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return steps if type(steps) is int else None
