"""The settings by group: each field is a flag, with its default, unit, help, bounds and algorithms.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TABULAR = ("q-learning", "sarsa", "monte-carlo")
ALGOS = ("a3c", "dqn", "ppo", *TABULAR, "random")
MODELS = ("a3c-lstm", "a3c-small", "nature", "pixels", "mlp")
ACTOR_CRITICS = ("a3c", "ppo")
MODELS_OF = {
    "a3c": ("a3c-lstm", "a3c-small", "nature", "mlp"),
    "dqn": ("nature", "pixels", "mlp"),
    "ppo": ("nature", "mlp"),
}
"""Networks by algorithm; the first is the default for pictures, mlp that for vectors. Others have none."""
EPOCHS_OF = {"a3c": 1, "ppo": 4}
"""Passes over each rollout by algorithm, where --epochs does not say."""


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
        None,
        "Atari: height and width of an observation; default: 80 for a3c-lstm, else 84",
        low=16,
        high=256,
        unit="pixels",
    )
    crop: bool | None = setting(
        None, "Atari: cut the score line and borders off before resizing; default: only for a3c-lstm"
    )
    reward_clip: float | None = setting(
        None, "bound on a reward for learning only, 0 for none; default: 1 under classic, else 0", low=0
    )
    max_episode_steps: int | None = setting(
        None,
        "cut an episode after this many steps; default: the environment's own limit",
        low=1,
        kind="count",
    )


@dataclass(frozen=True)
class LearnConfig:
    """What is learned and how."""

    algo: str = setting("a3c", "learning algorithm", choices=ALGOS)
    model: str | None = setting(
        None,
        "network; default: for images a3c-lstm (dqn, ppo: nature), mlp otherwise",
        choices=MODELS,
        algos=tuple(MODELS_OF),
    )
    gamma: float = setting(0.99, "discount factor per step", low=0, high=1)
    tau: float = setting(
        1.0, "lambda of generalised advantage estimation", low=0, high=1, algos=ACTOR_CRITICS
    )
    entropy_coef: float = setting(0.01, "weight of the entropy bonus", low=0, algos=ACTOR_CRITICS)
    entropy_schedule: str = setting(
        "constant",
        "constant, or linear: the bonus falls to 0 at --max-steps",
        choices=("constant", "linear"),
        algos=ACTOR_CRITICS,
    )
    value_coef: float = setting(0.5, "weight of the value loss", low=0, algos=ACTOR_CRITICS)
    num_steps: int = setting(20, "length of a rollout", low=1, high=100_000, unit="steps")
    epochs: int | None = setting(
        None,
        "passes over each rollout; default: 4 for ppo, 1 for a3c, whose further ones learn as ppo's do",
        low=1,
        high=1000,
        algos=ACTOR_CRITICS,
    )
    clip_range: float = setting(
        0.2,
        "how far the ratio of new to old policy may leave 1 and still be rewarded",
        low=0,
        algos=ACTOR_CRITICS,
    )
    envs_per_worker: int = setting(
        1, "environments each worker steps as one batch; 1 is the classic algorithm", low=1, high=4096
    )
    precision: str = setting(
        "auto",
        "arithmetic of the network; auto: bf16 where the device computes it faster than fp32",
        choices=("auto", "fp32", "bf16"),
        algos=tuple(MODELS_OF),
    )


@dataclass(frozen=True)
class ExploreConfig:
    """How often an agent that learns values tries a random action."""

    epsilon_start: float = setting(
        1.0, "chance of a random action at first", low=0, high=1, algos=("dqn", *TABULAR)
    )
    epsilon_final: float = setting(
        0.01, "chance of a random action in the end", low=0, high=1, algos=("dqn", *TABULAR)
    )
    epsilon_decay: float = setting(
        0.0005,
        "rate at which the chance falls exponentially, per episode of all workers",
        low=0,
        algos=TABULAR,
    )
    epsilon_steps: int = setting(
        1_000_000,
        "steps of all workers until the final chance is reached",
        low=1,
        kind="count",
        unit="steps",
        algos=("dqn",),
    )
    epsilon_spread: float = setting(
        1.0,
        "the last environment of all explores with the chance to the power of 1 + this, the first with "
        "the chance itself, the others between",
        low=0,
        high=20,
        algos=("dqn",),
    )
    eval_epsilon: float = setting(
        0.001, "chance of a random action when evaluated; --greedy: none", low=0, high=1, algos=("dqn",)
    )


@dataclass(frozen=True)
class DqnConfig:
    """Deep Q-learning."""

    double: bool = setting(
        True, "the online network chooses the action that the target network values", algos=("dqn",)
    )
    dueling: bool = setting(False, "value and advantages have heads of their own", algos=("dqn",))
    n_step: int = setting(
        1, "rewards summed before the value of what follows", low=1, high=100, unit="steps", algos=("dqn",)
    )
    replay_size: int = setting(
        100_000, "observations in the replay, over all workers", low=100, kind="count", algos=("dqn",)
    )
    keep_replay: bool = setting(
        False,
        "save the replay of --workers 0 in the checkpoints, instead of filling it anew on resume",
        algos=("dqn",),
    )
    priority_exponent: float = setting(
        0.0, "draw transitions by their TD error to this power; 0: uniformly", low=0, high=1, algos=("dqn",)
    )
    priority_beta: float = setting(
        0.5,
        "how far the loss corrects for drawing by priority: 0 not at all, 1 fully",
        low=0,
        high=1,
        algos=("dqn",),
    )
    learning_starts: int = setting(
        1000,
        "random steps, over all workers, before learning; on resume the replay is filled as far",
        low=1,
        kind="count",
        unit="steps",
        algos=("dqn",),
    )
    batch_size: int = setting(32, "transitions in one update", low=1, high=100_000, algos=("dqn",))
    updates_per_rollout: int = setting(
        1, "updates after each rollout of --num-steps", low=1, high=100_000, algos=("dqn",)
    )
    target_update: int = setting(
        1000,
        "steps of all workers between two copies to the target network",
        low=1,
        kind="count",
        unit="steps",
        algos=("dqn",),
    )
    huber_delta: float = setting(
        1.0,
        "TD error from which on the loss grows linearly; above 1 where rewards are not clipped",
        low=1e-6,
        algos=("dqn",),
    )
    grad_clamp: float = setting(
        0.0, "clamp each element of a gradient to +-this, 0 for none", low=0, algos=("dqn",)
    )
    hidden: tuple[int, ...] = setting(
        (256, 256), "units of the hidden layers of the mlp", low=1, high=100_000, algos=("dqn",)
    )


@dataclass(frozen=True)
class TableConfig:
    """Tabular learning."""

    initial_q: float = setting(
        0.0,
        "value of every cell at first; above what can be reached, it makes the agent try everything",
        algos=TABULAR,
    )


@dataclass(frozen=True)
class PpoConfig:
    """Proximal policy optimisation."""

    minibatch_size: int = setting(64, "samples in one update", low=1, high=1_000_000, algos=("ppo",))
    value_clip: float = setting(
        0.0, "how far the value may move from the old one in a pass, 0 for any", low=0, algos=("ppo",)
    )
    normalize_advantages: bool = setting(
        True, "give the advantages of each update mean 0 and deviation 1", algos=("ppo",)
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
    max_grad_norm: float = setting(
        40.0, "clip gradients to this global norm, 0 for none", low=0, algos=tuple(MODELS_OF)
    )
    max_lag: int = setting(
        0, "refuse a gradient older than this many updates, 0 for no limit", low=0, unit="updates"
    )
    average_updates: int = setting(
        0,
        "play and keep the average of the weights over about this many updates, 0: the newest",
        low=0,
        unit="updates",
        algos=tuple(MODELS_OF),
    )
    locked: bool = setting(
        False,
        "take turns when updating the shared model, instead of lock-free (Hogwild)",
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
        None,
        "worker processes; default: usable cores; 0: all in one process, bit-reproducible",
        low=0,
        high=4096,
    )
    gpu_ids: tuple[int, ...] = setting(
        (),
        "GPU ids, dealt round-robin to the workers; -1 or nothing: CPU",
        low=-1,
        algos=tuple(MODELS_OF),
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
    on_hup: str = setting(
        "stop",
        "what a lost terminal (SIGHUP) does: stop, with a checkpoint, or ignore",
        choices=("stop", "ignore"),
    )
    stall_after: float = setting(
        60.0, "replace a process that gave no sign of life for this long", low=1, kind="duration"
    )
    min_workers: int = setting(1, "end the run when fewer workers than this can be kept running", low=1)
    max_rss: int = setting(
        0,
        "stop, with a checkpoint, when all processes together take more memory, 0 for no limit",
        low=0,
        kind="count",
        unit="bytes",
    )
