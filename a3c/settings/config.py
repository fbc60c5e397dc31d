"""The configuration of a run: every setting of every group, put together from its layers.

A run's settings come, later wins, from the defaults below, the preset that matches (env, algo) or is
named with --preset, and the flags. The result is one frozen `Config`; its groups go to the parts that
need them. All mistakes are reported at once.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from a3c.errors import CheckpointError, UsageError
from a3c.settings.algorithms import FACTS
from a3c.settings.cluster import ClusterConfig
from a3c.settings.groups import (
    DqnConfig,
    EnvConfig,
    EvalConfig,
    ExploreConfig,
    LearnConfig,
    OptimConfig,
    PpoConfig,
    RunConfig,
    TableConfig,
)
from a3c.settings.other_words import OF_ALGORITHM
from a3c.settings.presets import preset_for, presets
from a3c.settings.values import check, convert, did_you_mean, shown, typed

RUNS_FOLDER = Path("checkpoints")
"""Where runs go, below the current directory."""

RETIRED = frozenset({"dqn.keep_replay", "dqn.priority_beta", "explore.eval_epsilon", "ppo.value_clip"})
"""Settings that older versions wrote and that are no more, as "group.name"; in a file they mean nothing."""

COMMAND_LINE = "command line"
"""The name of the layer that a person typed."""

_PROJECT = re.compile(r"[A-Za-z0-9._-]{1,100}")
_MISTAKES_SHOWN = 5  # of a file, which may have any number


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    env: EnvConfig = field(default_factory=EnvConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    explore: ExploreConfig = field(default_factory=ExploreConfig)
    dqn: DqnConfig = field(default_factory=DqnConfig)
    ppo: PpoConfig = field(default_factory=PpoConfig)
    table: TableConfig = field(default_factory=TableConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dict, for config.json."""
        plain: dict[str, dict[str, Any]] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def replace(self, **values: Any) -> Config:
        """A copy with some settings changed, by name, whichever group holds them."""
        changes: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            changes.setdefault(settings()[name].group, {})[name] = value
        groups = {g: dataclasses.replace(getattr(self, g), **v) for g, v in changes.items()}
        return dataclasses.replace(self, **groups)

    def get(self, name: str) -> Any:
        """The value of a setting by name, whichever group holds it."""
        return getattr(getattr(self, settings()[name].group), name)


@dataclass(frozen=True)
class Setting:
    """One field of one group, as the command line sees it."""

    name: str
    group: str
    type: Any  # without `| None`
    optional: bool  # None is a value too
    default: Any
    help: str
    choices: tuple[str, ...]
    low: float | None  # bounds, included
    high: float | None
    flag: str
    unit: str  # of the default, in words
    kind: str  # "duration" or "count" for numbers that may have a suffix, else ""
    algos: tuple[str, ...]  # that use it; () for all


@cache
def settings() -> dict[str, Setting]:
    """Every setting by name."""
    return {
        f.name: _setting(group.name, kind, f)
        for group in dataclasses.fields(Config)
        for kind in [typing.get_type_hints(Config)[group.name]]
        for f in dataclasses.fields(kind)
    }


def _setting(group: str, kind: type, f: dataclasses.Field[Any]) -> Setting:
    hint = typing.get_type_hints(kind)[f.name]
    optional = isinstance(hint, types.UnionType)
    meta = dict(f.metadata)
    meta["flag"] = "--" + (meta["flag"] or f.name.replace("_", "-"))
    meta["algos"] = tuple(meta["algos"] or getattr(kind, "ALGOS", ()))
    meta["choices"] = tuple(meta["choices"])
    return Setting(
        name=f.name,
        group=group,
        type=typing.get_args(hint)[0] if optional else hint,
        optional=optional,
        default={} if f.default is dataclasses.MISSING else f.default,
        **meta,
    )


# ---------------------------------------------------------------------------------------------------
# Layers


def build_config(*layers: tuple[str, Mapping[str, Any]]) -> Config:
    """The config that (source, values) layers give, later wins.

    Raises:
        UsageError: names every unknown setting and bad value at once, each with its source.
    """
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for source, layer in layers:
        for name, raw in layer.items():
            s = settings().get(name)
            if s is None:
                unknown = f"unknown setting '{shown(name)}'{did_you_mean(name, settings())}"
                mistakes.append(f"{source}: {unknown}")
                continue
            try:
                values[name] = _value(s, raw, by_hand=source == COMMAND_LINE)
            except ValueError as error:
                where = s.flag if source == COMMAND_LINE else f"{source}: {name}"
                mistakes.append(f"{where} {shown(raw)}: {error}")
    if not mistakes:
        config = Config().replace(**values)
        given = {name for source, layer in layers if source == COMMAND_LINE for name in layer}
        mistakes = contradictions(config, given)
    if mistakes:
        raise UsageError("; ".join(mistakes))
    return config


def _value(s: Setting, raw: Any, by_hand: bool) -> Any:
    """A value of the setting's type and within its bounds. What is typed by hand is text; a file has numbers
    and truths as such. Raises ValueError."""
    items = raw if isinstance(raw, (list, tuple)) else [raw]
    if not by_hand and s.type is not str and not s.kind and any(isinstance(item, str) for item in items):
        raise ValueError("is text")
    value = convert(raw, s.type, s.optional, s.kind)
    check(value, s.choices, s.low, s.high)
    return typed(value) if by_hand else value


def contradictions(config: Config, given: set[str]) -> list[str]:
    """Settings that cannot go together; `given` are those named on the command line."""
    found = []
    for name in sorted(given):
        algos = settings()[name].algos
        if algos and config.learn.algo not in algos:
            flag, ours = settings()[name].flag, OF_ALGORITHM.get((name, config.learn.algo))
            hint = f", which has {settings()[ours].flag}" if ours else ""
            found.append(f"{flag} is a setting of {', '.join(algos)}, not of {config.learn.algo}{hint}")
    found += contradictions_of_algorithm(config, given)
    for name in ("lr_schedule", "entropy_schedule"):
        if config.get(name) == "linear" and not config.run.max_steps:
            found.append(f"{settings()[name].flag} linear needs --max-steps, where it reaches 0")
    if "amsgrad" in given and config.optim.amsgrad and config.optim.optimizer != "adam":
        optimizer = config.optim.optimizer
        found.append(f"--amsgrad is a variant of adam; it does not go with --optimizer {optimizer}")
    if len(set(config.run.gpu_ids)) != len(config.run.gpu_ids):
        found.append("--gpu-ids names a GPU twice")
    if -1 in config.run.gpu_ids:
        found.append("--gpu-ids -1 means CPU and stands alone")
    if config.run.workers and config.run.min_workers > config.run.workers:
        found.append(f"--min-workers {config.run.min_workers} is more than --workers {config.run.workers}")
    if config.cluster.cluster and config.run.workers == 0:
        found.append("--cluster needs worker processes; --workers 0 has none")
    if not _PROJECT.fullmatch(config.eval.track_project):
        found.append("--track-project has 1 to 100 letters, digits and . _ -")
    if config.run.load and config.run.init_from:
        found.append("--load continues a run and --init-from starts one; give only one of them")
    if "partial" in given and config.run.partial and not config.run.init_from:
        found.append("--partial goes with --init-from FILE, of which it takes what fits")
    return found


def contradictions_of_algorithm(config: Config, given: set[str]) -> list[str]:
    """Settings of one algorithm that cannot go together."""
    found = []
    algo, model, dqn, explore = config.learn.algo, config.learn.model, config.dqn, config.explore
    facts = FACTS[algo]
    if model and model not in facts.models:
        taken = ", ".join(facts.models) or "no network"
        found.append(f"--model {model} is not for {algo}, which takes {taken}")
    if facts.tabular and config.optim.optimizer != "sgd":
        found.append(f"--algo {algo} takes --optimizer sgd, whose learning rate is its alpha")
    if algo in settings()["epsilon_final"].algos and explore.epsilon_final > explore.epsilon_start:
        found.append("--epsilon-final is more than --epsilon-start")
    if algo == "a3c" and (config.learn.epochs or facts.epochs) == 1:
        later = ["--clip-range"] * ("clip_range" in given) + ["--kl-target"] * (config.optim.kl_target > 0)
        found += [
            f"{flag} counts from the second pass over a rollout on; give --epochs 2 or more" for flag in later
        ]
    if algo != "dqn":
        return found
    if dqn.replay_size < 2 * dqn.learning_starts:
        found.append(f"--replay-size {dqn.replay_size} is less than twice --learning-starts")
    if dqn.learning_starts < dqn.batch_size:
        found.append(f"--learning-starts {dqn.learning_starts} is less than --batch-size {dqn.batch_size}")
    return found


def resolve(given: Mapping[str, Any]) -> Config:
    """The config of a new run: defaults, then the preset, then `given` (from the command line)."""
    name = given.get("preset", "")
    if name == "none":
        preset = None
    elif name:
        preset = presets().get(name)
        if preset is None:
            hint = did_you_mean(name, presets()) or "; see `a3c presets`"
            raise UsageError(f"--preset {name}: no such preset{hint}")
    else:
        defaults = Config()
        preset = preset_for(given.get("env", defaults.env.env), given.get("algo", defaults.learn.algo))
    layers: list[tuple[str, Mapping[str, Any]]] = []
    if preset:
        layers.append((f"preset {preset.name}", {**preset.settings, "preset": preset.name}))
    layers.append((COMMAND_LINE, given))
    return build_config(*layers)


def from_dict(data: Any, source: str) -> Config:
    """The config in a file, of a run, a checkpoint or a package: groups of settings, as `Config.to_dict` has
    them. What is absent gets its default, because an older version did not have it.

    Raises:
        CheckpointError: names each group and setting that is unknown, misplaced or has no such value.
    """
    try:
        return build_config((source, _ungroup(data)))
    except ValueError as error:
        raise CheckpointError(f"{source}: {error}") from error
    except UsageError as error:
        raise CheckpointError(str(error)) from error


def _ungroup(data: Any) -> dict[str, Any]:
    """The settings of all groups, none of which may hold another's. Raises ValueError."""
    groups = {group.name for group in dataclasses.fields(Config)}
    if not isinstance(data, Mapping) or not all(isinstance(part, Mapping) for part in data.values()):
        raise ValueError("not tables of settings")
    flat, mistakes = {}, [f"unknown group of settings '{shown(name)}'" for name in data if name not in groups]
    for group in groups & data.keys():
        for name, value in data[group].items():
            s = settings().get(name)
            if s and s.group == group:
                flat[name] = value
            elif s:
                mistakes.append(f"{name} belongs to the group {s.group}, not to {group}")
            elif f"{group}.{name}" not in RETIRED:
                mistakes.append(f"unknown setting '{shown(name)}' in {group}{did_you_mean(name, settings())}")
    if mistakes:
        raise ValueError("; ".join(mistakes[:_MISTAKES_SHOWN]))
    return flat


def resolve_resumed(saved: Config, given: Mapping[str, Any]) -> Config:
    """The config of a continued run: its saved settings, then `given` (from the command line).

    Raises:
        UsageError: `given` asks for another environment, algorithm or preset, or has mistakes.
    """
    for name in ("env", "algo", "preset"):
        if name in given and given[name] != saved.get(name):
            raise UsageError(
                f"{settings()[name].flag} {given[name]}: the saved run has {saved.get(name) or 'none'}; "
                "leave the flag out, or start a new run without --load"
            )
    start = {
        "load",
        "run_dir",
        "init_from",
        "partial",
        "cluster",
        "cluster_insecure",
    }  # of the start that was saved, not of this one
    kept = {name: saved.get(name) for name in settings() if name not in start}
    preset = presets().get(given.get("preset", ""))
    if preset is not None and preset.settings.get("env") == kept["env"]:
        kept["env"] = preset.settings["env"]  # as good as typed
    return build_config(("saved settings", kept), (COMMAND_LINE, given))
