"""Every setting: its flag, default, unit, help and bounds, in one place.

A run's settings come, later wins, from the defaults below, the preset that matches (env, algo) or is
named with --preset, and the flags. The result is one frozen `Config`; its groups go to the parts that
need them. All mistakes are reported at once.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from a3c.errors import UsageError
from a3c.presets import preset_for, presets
from a3c.values import check, convert, did_you_mean, shown

ALGOS = ("a3c",)
MODELS = ("a3c-lstm", "a3c-small", "nature", "mlp")
RUNS_FOLDER = Path("checkpoints")
"""Where runs go, below the current directory."""


def setting(
    default: Any,
    text: str,
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    flag: str = "",
    unit: str = "",
    kind: str = "",
    algos: Sequence[str] = (),
) -> Any:
    """A field that is also a flag. `kind` is "duration" or "count" for numbers with a suffix; `algos`
    names the algorithms that read the setting, when not all do."""
    metadata = {
        "help": text,
        "choices": tuple(choices),
        "low": low,
        "high": high,
        "flag": flag,
        "unit": unit,
        "kind": kind,
        "algos": tuple(algos),
    }
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class EnvConfig:
    """The environment and how its observations are made. None means: what suits the environment."""

    env: str = setting("Breakout-v0", "Gymnasium id of the environment")
    env_kwargs: dict[str, Any] = setting(
        {}, "settings passed to the environment, as key=value (values are JSON, else text)"
    )
    protocol: str = setting(
        "classic",
        "Atari rules: classic (no-op starts, FIRE where needed, a lost life is terminal for learning, "
        "rewards clipped to +-1) or machado (no tricks, game over only)",
        choices=("classic", "machado"),
    )
    frame_skip: int | None = setting(
        None, "Atari: frames per step; default: the id's own, 4 where that is 1", low=1, high=60
    )
    frame_stack: int | None = setting(
        None, "Atari: frames in one observation; default: 1 for a3c-lstm, else 4", low=1, high=16
    )
    frame_size: int | None = setting(
        None, "Atari: height and width of an observation; default: 80 for a3c-lstm, else 84",
        low=16, high=256, unit="pixels",
    )
    crop: bool | None = setting(
        None, "Atari: cut the score line and borders off before resizing; default: only for a3c-lstm"
    )
    reward_clip: float | None = setting(
        None, "bound on a reward for learning only, 0 for none; default: 1 under classic, else 0", low=0
    )
    max_episode_steps: int | None = setting(
        None, "cut an episode after this many steps; default: the environment's own limit",
        low=1, kind="count",
    )


@dataclass(frozen=True)
class LearnConfig:
    """What is learned and how."""

    algo: str = setting("a3c", "learning algorithm", choices=ALGOS)
    model: str | None = setting(
        None, "network; default: a3c-lstm for images, mlp otherwise", choices=MODELS
    )
    gamma: float = setting(0.99, "discount factor per step", low=0, high=1)
    tau: float = setting(1.0, "lambda of generalised advantage estimation", low=0, high=1)
    entropy_coef: float = setting(0.01, "weight of the entropy bonus", low=0)
    value_coef: float = setting(0.5, "weight of the value loss", low=0)
    num_steps: int = setting(20, "length of a rollout", low=1, high=100_000, unit="steps")
    envs_per_worker: int = setting(
        1, "environments each worker steps as one batch; 1 is the classic algorithm", low=1, high=4096
    )
    precision: str = setting(
        "auto", "arithmetic of the network; auto: bf16 where the device computes it faster than fp32",
        choices=("auto", "fp32", "bf16"),
    )


@dataclass(frozen=True)
class OptimConfig:
    """The shared optimizer."""

    optimizer: str = setting("adam", "shared optimizer", choices=("adam", "rmsprop", "sgd"))
    lr: float = setting(1e-4, "learning rate", low=0)
    lr_schedule: str = setting(
        "constant", "constant, or linear: falls to 0 at --max-steps", choices=("constant", "linear")
    )
    amsgrad: bool = setting(True, "Adam keeps the largest second moment (AMSGrad)")
    epsilon: float = setting(
        1e-5, "added to the root of the second moment (Adam, RMSprop)", low=0, flag="optimizer-epsilon"
    )
    max_grad_norm: float = setting(40.0, "clip gradients to this global norm, 0 for none", low=0)
    max_lag: int = setting(
        0, "refuse a gradient older than this many updates, 0 for no limit", low=0, unit="updates"
    )
    locked: bool = setting(
        False, "take turns when updating the shared model, instead of lock-free (Hogwild)",
        flag="locked-updates",
    )


@dataclass(frozen=True)
class EvalConfig:
    """The evaluator: scores, checkpoints, logs."""

    eval_every: float = setting(60.0, "time between evaluations, 0 for none", low=0, kind="duration")
    eval_episodes: int = setting(10, "games per evaluation, with fixed seeds", low=1, high=10_000)
    checkpoint_every: float = setting(300.0, "time between checkpoints", low=1, kind="duration")
    keep_checkpoints: int = setting(3, "how many of the newest checkpoints to keep", low=2, high=1000)
    log_every: float = setting(
        10.0, "time between log lines and TensorBoard points", low=0.1, kind="duration"
    )


@dataclass(frozen=True)
class RunConfig:
    """Processes, devices, limits and places."""

    workers: int | None = setting(
        None, "worker processes; default: usable cores; 0: all in one process, bit-reproducible",
        low=0, high=4096,
    )
    gpu_ids: tuple[int, ...] = setting(
        (), "GPU ids, dealt round-robin to the workers; -1 or nothing: CPU", low=-1
    )
    seed: int = setting(
        1, "seed; a worker's own follows from seed, worker id and restarts", low=0, high=2**31 - 1
    )
    max_steps: int = setting(
        0, "stop after this many steps over all resumes, 0 for no limit", low=0, kind="count"
    )
    max_time: float = setting(0.0, "stop after this time, 0 for no limit", low=0, kind="duration")
    target_score: float | None = setting(None, "stop when an evaluation's mean score reaches this")
    load: str = setting("", "continue the newest run of this env and algo, or the run or checkpoint at PATH")
    run_dir: str = setting("", "run directory; default: checkpoints/<env>-<algo>, numbered when taken")
    init_from: str = setting(
        "", "start from the weights in FILE (.safetensors, or a state dict saved by torch)"
    )
    preset: str = setting("", "named settings; see `a3c presets`; none: no preset")
    grace: float = setting(10.0, "time a graceful stop may take", low=1, kind="duration")


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    env: EnvConfig = field(default_factory=EnvConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    run: RunConfig = field(default_factory=RunConfig)

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
    type: Any
    default: Any
    metadata: Mapping[str, Any]

    @property
    def flag(self) -> str:
        return "--" + (self.metadata["flag"] or self.name.replace("_", "-"))

    @property
    def base_type(self) -> Any:
        """The type without `| None`."""
        if isinstance(self.type, types.UnionType):
            return next(t for t in typing.get_args(self.type) if t is not type(None))
        return self.type

    @property
    def optional(self) -> bool:
        return isinstance(self.type, types.UnionType)


@cache
def settings() -> dict[str, Setting]:
    """Every setting by name."""
    found: dict[str, Setting] = {}
    for group in dataclasses.fields(Config):
        kind = typing.get_type_hints(Config)[group.name]
        hints = typing.get_type_hints(kind)
        for f in dataclasses.fields(kind):
            default = {} if f.default is dataclasses.MISSING else f.default
            found[f.name] = Setting(f.name, group.name, hints[f.name], default, f.metadata)
    return found


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
                mistakes.append(f"{source}: unknown setting {name!r}{did_you_mean(name, settings())}")
                continue
            try:
                values[name] = convert(raw, s.base_type, s.optional, s.metadata["kind"])
                check(values[name], s.metadata["choices"], s.metadata["low"], s.metadata["high"])
            except ValueError as error:
                where = s.flag if source == "command line" else f"{source}: {name}"
                mistakes.append(f"{where} {shown(raw)}: {error}")
    if not mistakes:
        config = Config().replace(**values)
        given = {name for source, layer in layers if source == "command line" for name in layer}
        mistakes = contradictions(config, given)
    if mistakes:
        raise UsageError("; ".join(mistakes))
    return config


def contradictions(config: Config, given: set[str]) -> list[str]:
    """Settings that cannot go together; `given` are those named on the command line."""
    found = []
    for name in sorted(given):
        algos = settings()[name].metadata["algos"]
        if algos and config.learn.algo not in algos:
            flag = settings()[name].flag
            found.append(f"{flag} is a setting of {', '.join(algos)}, not of {config.learn.algo}")
    if config.optim.lr_schedule == "linear" and not config.run.max_steps:
        found.append("--lr-schedule linear needs --max-steps, where the rate reaches 0")
    if "amsgrad" in given and config.optim.amsgrad and config.optim.optimizer != "adam":
        optimizer = config.optim.optimizer
        found.append(f"--amsgrad is a variant of adam; it does not go with --optimizer {optimizer}")
    if len(set(config.run.gpu_ids)) != len(config.run.gpu_ids):
        found.append("--gpu-ids names a GPU twice")
    if -1 in config.run.gpu_ids:
        found.append("--gpu-ids -1 means CPU and stands alone")
    if config.run.load and config.run.init_from:
        found.append("--load continues a run and --init-from starts one; give only one of them")
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
    layers.append(("command line", given))
    return build_config(*layers)


def from_dict(data: Mapping[str, Any], source: str) -> Config:
    """The config a run directory's config.json holds. Raises UsageError."""
    flat: dict[str, Any] = {}
    for group in dataclasses.fields(Config):
        part = data.get(group.name, {})
        if not isinstance(part, Mapping):
            raise UsageError(f"{source}: {group.name} is not a table of settings")
        flat.update(part)
    return build_config((source, flat))


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
    start = {"load", "run_dir", "init_from"}  # they belong to the start that was saved, not to this one
    kept = {name: saved.get(name) for name in settings() if name not in start}
    return build_config(("saved settings", kept), ("command line", given))


def usable_cores() -> int:
    """Cores this process may really use: its affinity, and the CPU quota of its cgroup."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no cgroup v2 here
    return max(1, cores)
