"""Flags as other programs call them: those that mean the same are taken, of the others it is said what to do.

The words are those of Stable-Baselines3 and its zoo, of CleanRL, and of the A3C programs for PyTorch.
"""

from __future__ import annotations

SAME = {
    "algorithm": "algo",
    "env-id": "env", "env-name": "env",
    "learning-rate": "lr",
    "discount": "gamma", "discount-factor": "gamma",
    "gae-lambda": "tau", "lambda": "tau", "lam": "tau",
    "ent-coef": "entropy_coef", "entropy-beta": "entropy_coef",
    "vf-coef": "value_coef", "value-loss-coef": "value_coef",
    "clip-coef": "clip_range",
    "n-epochs": "epochs", "update-epochs": "epochs",
    "norm-adv": "normalize_advantages", "normalize-advantage": "normalize_advantages",
    "num-workers": "workers", "n-workers": "workers", "num-processes": "workers",
    "total-timesteps": "max_steps", "n-timesteps": "max_steps", "timesteps": "max_steps",
    "total-steps": "max_steps",
    "max-episode-length": "max_episode_steps",
    "buffer-size": "replay_size",
    "target-update-interval": "target_update", "target-network-frequency": "target_update",
    "exploration-initial-eps": "epsilon_start", "start-e": "epsilon_start",
    "exploration-final-eps": "epsilon_final", "end-e": "epsilon_final",
    "n-eval-episodes": "eval_episodes",
    "gpu-id": "gpu_ids",
    "resume": "load",
    "wandb-project-name": "track_project",
}  # fmt: skip
"""Other names of settings, with the same meaning and unit; their flags are not in --help."""

_ENVS = "elsewhere it counts all environments, here --workers have --envs-per-worker each"
_STEPS = "the length of a rollout is --num-steps, the n-step returns of DQN are --n-step"
_PLACE = "curves, logs and checkpoints of a run are all in --run-dir DIR"
_FRAMES = "--max-steps counts steps of the agent; one of an Atari game has up to 4 frames"
_GAMES = "a training's length is --max-steps or --max-time; an evaluation has --eval-episodes games"
_SEEN = "TensorBoard shows a game of each new best; a3c eval --video FILE films others"
_GPU = "name the GPUs by number: --gpu-ids 0"
_CPU = "the CPU is the default; GPUs are named by --gpu-ids"
_CHECKPOINTS = "it counts in time here: --checkpoint-every TIME"

OF_ALGORITHM = {
    ("batch_size", "ppo"): "minibatch_size",
    ("minibatch_size", "dqn"): "batch_size",
    ("n_step", "a3c"): "num_steps", ("n_step", "ppo"): "num_steps",
}  # fmt: skip
"""Settings of one algorithm that are called otherwise in another."""

DIFFERENT = {
    "num-envs": _ENVS, "n-envs": _ENVS, "num-env": _ENVS,
    "n-steps": _STEPS, "nsteps": _STEPS,
    "unroll-length": "it is --num-steps here", "rollout-length": "it is --num-steps here",
    "num-minibatches": "their size is set here: --minibatch-size",
    "anneal-lr": "it is --lr-schedule linear here",
    "policy": "the network is named by --model",
    "exploration-fraction": "it counts in steps here: --epsilon-steps",
    "train-frequency": "it is --num-steps here", "train-freq": "it is --num-steps here",
    "gradient-steps": "it is --updates-per-rollout here",
    "eval-freq": "it counts in time here: --eval-every TIME",
    "save-freq": _CHECKPOINTS, "save-interval": _CHECKPOINTS,
    "log-interval": "it counts in time here: --log-every TIME",
    "num-frames": _FRAMES, "max-frames": _FRAMES, "total-frames": _FRAMES,
    "episodes": _GAMES, "num-episodes": _GAMES, "max-episodes": _GAMES,
    "timeout": "it is --max-time here",
    "log-dir": _PLACE, "log-folder": _PLACE, "logdir": _PLACE, "tensorboard-log": _PLACE,
    "save-dir": _PLACE, "save-model-dir": _PLACE, "output-dir": _PLACE,
    "exp-name": "the folder of a run is its name: --run-dir DIR",
    "run-name": "the folder of a run is its name: --run-dir DIR",
    "load-model": "--load goes on with a run, --init-from FILE takes weights alone",
    "render": "a run is watched by a3c play --watch, a game shown by a3c eval --render",
    "capture-video": _SEEN, "record-video": _SEEN, "video": _SEEN,
    "cuda": _GPU, "use-cuda": _GPU, "gpu": _GPU, "gpus": _GPU,
    "no-cuda": _CPU, "cpu": _CPU,
    "torch-deterministic": "--workers 0 --seed N gives the same to the bit, on the CPU",
    "deterministic": "the likeliest action is taken by a3c eval --greedy",
    "verbose": "lines come as often as --log-every TIME says",
}  # fmt: skip
"""Flags that mean something else here, or are not needed, and what to do."""
