"""The settings by group: each field is a flag, with its default, unit, help, bounds and algorithms.

This module imports the standard library only, so that `--help` is instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from a3c.settings.algorithms import ACTOR_CRITICS, ALGOS, MODELS, TABULAR, WITH_NETWORK


def setting(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    flag: str = "",
    unit: str = "",
    kind: str = "",
    algos: Sequence[str] = (),
) -> Any:
    """A field of a group that is also a flag; see `a3c.settings.config.Setting` for what they mean."""
    metadata = {key: value for key, value in locals().items() if key != "default"}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class EnvConfig:
    """The environment and how its observations are made. None means: what suits the environment."""

    env: str = setting("Breakout-v0", "Gymnasium id of the environment")
    env_kwargs: dict[str, Any] = setting(
        {}, "arguments of the environment's constructor, as key=value (values are JSON, else text)"
    )
    protocol: str = setting(
        "classic",
        "Atari rules: classic (random no-op starts, FIRE pressed where needed, a lost life ends an episode "
        "for learning) or machado (none of these)",
        choices=("classic", "machado"),
    )
    frame_skip: int | None = setting(
        None, "Atari: frames per step; default: that of the id, or 4 where that is 1", low=1, high=60
    )
    frame_stack: int | None = setting(
        None, "Atari: frames in one observation; default: 1 for a3c-lstm, else 4", low=1, high=16
    )
    frame_size: int | None = setting(
        None,
        "Atari: height and width of an observation in pixels; default: 80 for a3c-lstm, else 84",
        low=16,
        high=256,
    )
    crop: bool | None = setting(
        None,
        "Atari: cut off the score line and borders before resizing; default: True for a3c-lstm, else False",
    )
    reward_clip: float | None = setting(
        None,
        "clip rewards to +- this for learning only, 0: never; default: 1 for Atari under classic, else 0",
        low=0,
    )
    max_episode_steps: int | None = setting(
        None,
        "end an episode after this many steps; default: the environment's own limit",
        low=1,
        kind="count",
    )


@dataclass(frozen=True)
class LearnConfig:
    """What is learned and how."""

    algo: str = setting(
        "a3c",
        "learning algorithm; left out where an environment numbers its states: q-learning; random: no "
        "learning, for comparison",
        choices=ALGOS,
    )
    model: str | None = setting(
        None,
        "network; default: for Atari a3c-lstm (for dqn and ppo nature), for other pictures the first that "
        "takes their size, else mlp",
        choices=MODELS,
        algos=WITH_NETWORK,
    )
    gamma: float = setting(0.99, "discount factor per step", low=0, high=1)
    truncation: str = setting(
        "bootstrap",
        "what an episode cut by a time limit is to learning: bootstrap: it would go on, so what its last "
        "observation is worth counts; end: it is over, which suits where the limit is part of the task",
        choices=("bootstrap", "end"),
    )
    tau: float = setting(
        1.0, "lambda of generalised advantage estimation (GAE)", low=0, high=1, algos=ACTOR_CRITICS
    )
    entropy_coef: float = setting(0.01, "weight of the entropy bonus", low=0, algos=ACTOR_CRITICS)
    entropy_schedule: str = setting(
        "constant",
        "constant, or linear: the bonus falls to 0 at --max-steps",
        choices=("constant", "linear"),
        algos=ACTOR_CRITICS,
    )
    value_coef: float = setting(0.5, "weight of the value loss", low=0, algos=ACTOR_CRITICS)
    num_steps: int = setting(
        20,
        "length of a rollout: steps in each environment between two updates",
        low=1,
        high=100_000,
        unit="steps",
    )
    epochs: int | None = setting(
        None,
        "times to learn from each rollout; default: 4 for ppo, 1 for a3c, which from the second time on uses "
        "the clipped objective of ppo",
        low=1,
        high=1000,
        algos=ACTOR_CRITICS,
    )
    clip_range: float = setting(
        0.2,
        "PPO's clipping: probability ratios of new to old policy count only from 1 - this to 1 + this",
        low=0,
        algos=ACTOR_CRITICS,
    )
    fresh: str = setting(
        "auto",
        "learn with the newest weights: pull them again while acting and after it, and weigh each step by "
        "V-trace's truncated importance ratio; auto: for a3c, with more than 2 workers at a time or on a GPU",
        choices=("auto", "on", "off"),
        algos=ACTOR_CRITICS,
    )
    envs_per_worker: int = setting(
        1, "environments in each worker, stepped as one batch; classic A3C has 1", low=1, high=4096
    )
    precision: str = setting(
        "auto",
        "number format the network computes in; auto: bf16 where the device has it in hardware, else fp32",
        choices=("auto", "fp32", "bf16"),
        algos=WITH_NETWORK,
    )


@dataclass(frozen=True)
class ExploreConfig:
    """How often an agent that learns values tries a random action."""

    ALGOS: ClassVar = ("dqn", *TABULAR)

    epsilon_start: float = setting(1.0, "chance of a random action at the start", low=0, high=1)
    epsilon_final: float = setting(0.01, "chance of a random action at the end", low=0, high=1)
    epsilon_decay: float = setting(
        0.0005,
        "the chance of a random action falls exponentially by this rate per episode (of all workers)",
        low=0,
        algos=TABULAR,
    )
    epsilon_steps: int = setting(
        1_000_000,
        "steps of all workers over which the chance falls linearly from --epsilon-start to --epsilon-final",
        low=1,
        kind="count",
        unit="steps",
        algos=("dqn",),
    )
    epsilon_spread: float = setting(
        1.0,
        "how much less some environments explore than others: of n environments number i, from 0, takes "
        "a random action with the chance e ** (1 + this * i / (n - 1)), e being that of the schedule; "
        "0: the same in all",
        low=0,
        high=20,
        algos=("dqn",),
    )


@dataclass(frozen=True)
class DqnConfig:
    """Deep Q-learning."""

    ALGOS: ClassVar = ("dqn",)

    double: bool = setting(
        True, "Double DQN: the online network chooses the next action, the target network gives its value"
    )
    dueling: bool = setting(False, "dueling network: separate heads for the state's value and the advantages")
    n_step: int = setting(
        1, "n-step returns: rewards summed before the bootstrap value", low=1, high=100, unit="steps"
    )
    replay_size: int = setting(100_000, "steps kept in the replay, over all workers", low=100, kind="count")
    priority_exponent: float = setting(
        0.0,
        "prioritised replay: draw transitions in proportion to their TD error to this power; 0: uniformly",
        low=0,
        high=1,
    )
    learning_starts: int = setting(
        1000,
        "random steps before learning begins, over all workers; a resume first fills the replay with as many",
        low=1,
        kind="count",
        unit="steps",
    )
    batch_size: int = setting(32, "transitions in one update", low=1, high=100_000)
    updates_per_rollout: int = setting(1, "updates after each rollout", low=1, high=100_000)
    target_update: int = setting(
        1000,
        "steps of all workers after which the online network is copied to the target network",
        low=1,
        kind="count",
        unit="steps",
    )
    huber_delta: float = setting(
        1.0,
        "TD error above which the Huber loss is linear; take more than 1 where rewards are large",
        low=1e-6,
    )
    grad_clamp: float = setting(0.0, "clip each element of the gradient to +- this, 0: never", low=0)
    hidden: tuple[int, ...] = setting(
        (256, 256), "units of each hidden layer of --model mlp", low=1, high=100_000
    )


@dataclass(frozen=True)
class TableConfig:
    """Tabular learning."""

    ALGOS: ClassVar = TABULAR

    initial_q: float = setting(
        0.0,
        "value of every table entry at the start; above the highest return it makes the agent try everything",
    )


@dataclass(frozen=True)
class PpoConfig:
    """Proximal policy optimisation."""

    ALGOS: ClassVar = ("ppo",)

    minibatch_size: int = setting(64, "steps in one update, drawn from the rollout", low=1, high=1_000_000)
    normalize_advantages: bool = setting(
        True, "scale the advantages of each update to mean 0 and standard deviation 1"
    )


@dataclass(frozen=True)
class OptimConfig:
    """The shared optimizer."""

    optimizer: str = setting("adam", "optimizer", choices=("adam", "rmsprop", "sgd"))
    lr: float = setting(1e-4, "learning rate", low=0)
    lr_schedule: str = setting(
        "constant",
        "constant, or linear: the learning rate falls to 0 at --max-steps",
        choices=("constant", "linear"),
    )
    kl_target: float = setting(
        0.0,
        "adapt each worker's learning rate, 0.2 to 4 times, so that an update moves the policy this far (KL "
        "divergence, measured by the second pass); falls with the square of --lr-schedule; 0: do not adapt",
        low=0,
        algos=("a3c",),
    )
    amsgrad: bool = setting(True, "Adam divides by the largest second moment so far (AMSGrad)")
    epsilon: float = setting(
        1e-5, "added to the denominator, for stability (Adam, RMSprop)", low=0, flag="optimizer-epsilon"
    )
    max_grad_norm: float = setting(
        40.0, "scale a gradient down to this norm where it is larger, 0: never", low=0, algos=WITH_NETWORK
    )
    max_lag: int = setting(
        0,
        "drop a gradient when the weights had more updates than this since it began, 0: never",
        low=0,
        unit="updates",
    )
    average_updates: int = setting(
        0,
        "evaluate and save the average of the weights over about this many updates, 0: the newest weights",
        low=0,
        unit="updates",
        algos=WITH_NETWORK,
    )
    locked: bool = setting(
        False,
        "workers take turns when they update the shared weights, instead of lock-free (Hogwild)",
        flag="locked-updates",
    )


@dataclass(frozen=True)
class EvalConfig:
    """The evaluator: scores, checkpoints, logs."""

    eval_every: float = setting(
        60.0,
        "longest time between evaluations, 0: none; early in a run it is shorter",
        low=0,
        kind="duration",
    )
    eval_episodes: int = setting(10, "games per evaluation; their seeds are fixed", low=1, high=10_000)
    checkpoint_every: float = setting(300.0, "time between checkpoints", low=1, kind="duration")
    keep_checkpoints: int = setting(3, "keep this many of the newest checkpoints", low=2, high=1000)
    log_every: float = setting(
        10.0,
        "longest time between points of a curve of training; early in a run it is shorter",
        low=0.1,
        kind="duration",
    )
    track: bool = setting(
        False,
        "send the curves to Weights & Biases too, with the extra `track`; with WANDB_MODE=offline they are "
        "kept in the run's folder",
    )
    track_project: str = setting("a3c", "project at Weights & Biases that --track sends to")


@dataclass(frozen=True)
class RunConfig:
    """Processes, devices, limits and places."""

    workers: int | None = setting(
        None,
        "worker processes; default: one per usable core; 0: everything in one process, bit-reproducible",
        low=0,
        high=4096,
    )
    active_workers: int | None = setting(
        None,
        "workers that play and learn at a time, while the others wait for their turn; default: one per "
        "usable core, or all where they use GPUs; 0: all",
        low=0,
    )
    gpu_ids: tuple[int, ...] = setting(
        (),
        "GPUs by number, assigned to the workers in turn; -1 or nothing: the CPU",
        low=-1,
        algos=WITH_NETWORK,
    )
    seed: int = setting(
        1, "seed of everything random; workers derive their own from it", low=0, high=2**31 - 1
    )
    max_steps: int = setting(
        0, "stop at this many steps, those before a resume included; 0: no limit", low=0, kind="count"
    )
    max_time: float = setting(
        0.0, "stop after this time, counted from each start or resume; 0: no limit", low=0, kind="duration"
    )
    target_score: float | None = setting(None, "stop when an evaluation's mean score reaches this")
    load: str = setting(
        "", "continue the newest run of --env and --algo or, with PATH, that run or checkpoint"
    )
    run_dir: str = setting(
        "", "directory of the run; default: checkpoints/<env>-<algo>, numbered when that is taken"
    )
    init_from: str = setting(
        "",
        "start a new run with the weights of FILE: a checkpoint, a package, released:NAME, "
        ".safetensors or a state dict of torch",
    )
    partial: bool = setting(
        False, "with --init-from: take the weights that fit by name and shape, and say which do not"
    )
    preset: str = setting(
        "", "named settings (see `a3c presets`); default: those made for --env and --algo; none: no preset"
    )
    grace: float = setting(
        10.0, "how long a stop may take before processes are killed", low=1, kind="duration"
    )
    on_hup: str = setting(
        "stop",
        "when the terminal is lost (SIGHUP): stop, with a checkpoint, or ignore it",
        choices=("stop", "ignore"),
    )
    stall_after: float = setting(
        60.0, "replace a process that made no progress for this long", low=1, kind="duration"
    )
    min_workers: int = setting(
        1, "end the run when fewer workers than this are left (those that keep failing are given up)", low=1
    )
    max_rss: int = setting(
        0,
        "stop, with a checkpoint, when all processes together use more bytes of memory (like 8g) than this; "
        "0: no limit",
        low=0,
        kind="count",
        unit="bytes",
    )
