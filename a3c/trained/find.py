"""Finding a trained agent on the disk and rebuilding it, with no more than its run directory."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

from a3c.agents.base import Policy
from a3c.agents.make import make_policy
from a3c.envs import make_env, resolve_env
from a3c.errors import CheckpointError, UsageError
from a3c.settings.config import RUNS_FOLDER, Config, from_dict
from a3c.settings.values import shown
from a3c.storage.checkpoint import Checkpoint, check_compatible, read_checkpoint
from a3c.storage.find_run import named_run, newest_run, path_of
from a3c.storage.package_format import folder, is_package, read_package
from a3c.storage.released import PREFIX, Recipe, first_released, recipe_at, released
from a3c.storage.run_directory import CONFIG
from a3c.storage.run_state import check_size, check_state
from a3c.storage.shelf import best_checkpoint, entries, newest_checkpoint
from a3c.storage.tensor_files import pickle_hint
from a3c.trained import hub
from a3c.types import EnvSpec

BEST, NEWEST, PACKAGE = "best", "newest", "package"

_SEEN_BY_THE_NETWORK = (
    "observation_shape", "observation_dtype", "num_states", "num_actions", "action_meanings",
)  # fmt: skip
"""What another environment must share with the one trained on; rules such as sticky actions may differ."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """A checkpoint that was found. Raises CheckpointError when its state is not of the right kinds."""

    path: Path
    checkpoint: Checkpoint
    role: str  # in its run: "best", "newest", or "named" by the user; or "package"

    def __post_init__(self) -> None:
        check_state(self.checkpoint.state, self.path, packed=self.role == PACKAGE)

    @property
    def run_dir(self) -> Path:
        """The run it belongs to; of a package, the current folder."""
        return Path() if self.role == PACKAGE else self.path.parent

    @property
    def recipe(self) -> Recipe | None:
        """How it was trained, of an agent that comes with the program."""
        return recipe_at(self.path) if self.role == PACKAGE else None

    @property
    def env_steps(self) -> int:
        """Of training behind it."""
        return int(self.checkpoint.state["counters"]["env_steps"])

    @property
    def env_id(self) -> str:
        """The environment it was trained in."""
        return str(self.checkpoint.state["env"]["env_id"])


# ---------------------------------------------------------------------------------------------------
# Finding


def find_trained(
    which: str = "", run_dir: str = "", env: str = "", root: Path = RUNS_FOLDER, flag: str = "--checkpoint"
) -> Trained:
    """The checkpoint that the flags mean.

    Args:
        which: "best", "newest", the path of a run, a checkpoint or a package, "released:NAME", or
            "hub:user/name"; empty: best, else newest; and in a clone in which nothing was trained yet, the
            first of its released agents.
        run_dir: the run, where `which` is no path; empty: the newest under `root`.
        env: restricts the newest run to this environment; empty: any.
        root: where runs are.
        flag: what `which` was given with, for messages.

    Raises:
        UsageError: there is no such run.
        CheckpointError: it has no checkpoint, or a damaged one.
        StorageError: it cannot be read.
    """
    if which in ("", BEST, NEWEST):
        run = named_run(run_dir, "--run-dir", root).path if run_dir else newest_run(root, env, saved=True)
        if run is not None:
            return _choose(run.resolve(), which)
        if not which and (recipe := first_released(root, env)):
            return _in_package(recipe.path)
        wanted = f"of {env} " if env else ""
        hint = f"train one with run.py, or name one with {flag} PATH"
        raise UsageError(f"no trained run {wanted}under {root}/; {hint}{_released_hint()}")
    if run_dir:
        raise UsageError(f"{flag} {which} is a path, and --run-dir names a run; give only one of them")
    if which.startswith(hub.PREFIX):
        return Trained(Path(which), hub.download(which), PACKAGE)
    if os.path.isfile(which):
        kinds = "the folder of a run, a checkpoint or a package"
        raise CheckpointError(f"{flag} {which} is a file, not {kinds}{pickle_hint(Path(which))}")
    path = _existing(which, flag, root)
    if is_package(path):
        return _in_package(path)
    if _is_run(path):
        return _choose(path, "")
    return Trained(path, read_checkpoint(path), "named")


def _existing(text: str, flag: str, root: Path) -> Path:
    path = path_of(text, flag)
    for place in (path, root / path):
        if os.path.isdir(place):
            return place.resolve()
    raise UsageError(f"{flag} {text}: there is no such folder")


def _in_package(path: Path) -> Trained:
    return Trained(path, read_package(folder(path), str(path)), PACKAGE)


def _released_hint() -> str:
    there = released()
    return f" or {PREFIX}NAME: {', '.join(there)}" if there else ""


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() or bool(entries(path, "ckpt") or entries(path, "best"))


def _choose(run: Path, which: str) -> Trained:
    """A checkpoint of a run; it may be training meanwhile, so nothing is changed in it."""
    if which != NEWEST and (found := _best(run, needed=which == BEST)):
        return Trained(*found, BEST)
    if which != BEST and (found := newest_checkpoint(run, set_aside=False)):
        return Trained(*found, NEWEST)
    kind = "best " if which == BEST else ""
    raise CheckpointError(f"{run} has no {kind}checkpoint yet; the first one comes with --checkpoint-every")


def _best(run: Path, needed: bool) -> tuple[Path, Checkpoint] | None:
    try:
        return best_checkpoint(run, set_aside=False)
    except CheckpointError as error:
        if needed:
            raise
        _log.warning("%s; taking the newest instead", error)
        return None


# ---------------------------------------------------------------------------------------------------
# Rebuilding


@dataclass(frozen=True)
class Rebuilt:
    """What is needed to play."""

    config: Config
    env: EnvSpec  # of the environment it plays in
    policy: Policy
    changed: list[str]  # rules that differ from those it was trained under, in words


def rebuild(trained: Trained, env: str, seed: int, device: str, greedy: bool) -> Rebuilt:
    """The agent's policy with its weights, and the environment's settings.

    Args:
        trained: the checkpoint.
        env: another environment to play in; empty: its own.
        seed: of the policy's sampling.
        device: "cpu" or "cuda:N".
        greedy: take the likeliest action instead of sampling.

    Raises:
        UsageError: there is no such environment.
        CheckpointError: the weights do not fit it, or the checkpoint was made by something else.
    """
    config = _config(trained, env)
    check_size(config, trained.checkpoint.model, trained.path)
    envs = make_env(config.env, [seed], training=False)
    envs.close()
    try:
        policy = make_policy(config, envs.spec, seed, device, greedy)
    except ValueError as error:
        raise CheckpointError(f"{trained.path} does not fit {config.env.env}: {error}") from error
    changed = _check(trained, envs.spec, policy, own=config.env.env == trained.env_id)
    try:
        policy.parameters.load(trained.checkpoint.model)
    except ValueError as error:
        raise CheckpointError(f"{trained.path} holds other weights than it says: {error}") from error
    policy.refresh()
    return Rebuilt(config, envs.spec, policy, changed)


def _config(trained: Trained, env: str) -> Config:
    """The settings of the training; another environment brings its own rules."""
    config = from_dict(trained.checkpoint.state["config"], str(trained.path))
    if env in ("", config.env.env):
        return config.replace(env=env or config.env.env)  # what was typed may import its module
    config = config.replace(env=env, env_kwargs={}, frame_skip=None, max_episode_steps=None)
    resolve_env(config.replace(model=None))  # a mistake in the id is the user's, not the checkpoint's
    try:
        return resolve_env(config)
    except UsageError as error:
        raise CheckpointError(f"{trained.path} was not trained for {env}: {error}") from error


def _check(trained: Trained, spec: EnvSpec, policy: Policy, own: bool) -> list[str]:
    """Raises CheckpointError when the weights cannot play here. In its own environment everything must be
    as it was in training; in another one, returns in words which rules differ."""
    state, here = trained.checkpoint.state, spec.signature()
    was, wanted = state["env"], here
    if not own:
        wanted = {**was, **{name: here[name] for name in _SEEN_BY_THE_NETWORK}}
    try:
        # Two rounds: where the environment differs, the network does as a consequence.
        for network in (state["network"], policy.parameters.shapes):
            check_compatible(state, env=wanted, network=network, algo=state["algo"])
    except CheckpointError as error:
        raise CheckpointError(f"{trained.path} in {spec.env_id}: {error}") from error
    differing = [name for name in here if name != "env_id" and name in was and here[name] != was[name]]
    return [f"{name} {here[name]}, not {shown(str(was[name]))}" for name in differing]
