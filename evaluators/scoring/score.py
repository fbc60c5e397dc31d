"""Playing games with a trained agent, and how it went."""

from __future__ import annotations

import argparse
import operator
import sys
from collections.abc import Generator
from functools import partial, reduce

import torch

from a3c.agents.random_agent import RandomAgent
from a3c.envs import make_env
from a3c.errors import UsageError, printable
from a3c.settings.algorithms import TABULAR
from a3c.settings.values import shown
from a3c.storage.atomic import storage_errors
from a3c.storage.records import write_json
from a3c.trained.find import PACKAGE, Rebuilt, Trained, find_trained, rebuild
from evaluators.games.episodes import Games, Played, finish, play_seeds
from evaluators.games.exact import published_seeds
from evaluators.games.progress import with_progress
from evaluators.games.stats import summarise
from evaluators.games.tables import draw_policy, find_judge, is_blank
from evaluators.scoring.results import Results, results_of, table
from evaluators.showing.film import Film, filming, picture_rate
from evaluators.showing.stage import Display
from evaluators.showing.watch import watch


def score(options: argparse.Namespace) -> None:
    """Plays, prints the results, and writes them where it was asked for.

    Args:
        options: of `evaluators.scoring.command`.

    Raises:
        A3CError: something the user can mend.
    """
    display = _window() if options.render else None  # before a game is made
    device = find_device(options.gpu_id)
    torch.set_num_threads(1)  # the same scores whatever the number of cores, and no fight with a training
    trained = find_trained(options.checkpoint, options.run_dir, options.env)
    agent = rebuild(trained, options.env, options.seed, device, options.greedy)
    print(_introduction(trained, agent, device, first=not options.checkpoint))
    if isinstance(display, str):
        options.video = options.video or trained.run_dir / f"game-{trained.env_steps:09d}.mp4"
        print(f"--render: {display}, so a video is written to {options.video}")
        display = None
    games = _play(agent, _seeds(agent, options), options, display)
    if games is None:
        print("closed before a game was over: nothing to score")
        return
    _show_table(agent)
    results = measured(trained, agent, games, options.greedy, device)
    if options.baseline:
        results |= _baseline(agent, games.seeds)
    print(table(results))
    if options.json:
        with storage_errors(f"write {options.json}"):
            write_json(options.json, results)
        print(f"result written to {options.json}")


def play_all(agent: Rebuilt, seeds: tuple[int, ...]) -> Generator[Played, None, Games]:
    """One game per seed, in batches."""
    return play_seeds(agent.policy, partial(make_env, agent.config.env, training=False), seeds)


def measured(trained: Trained, agent: Rebuilt, games: Games, greedy: bool, device: str) -> Results:
    """All that is known of an agent after its games."""
    config = agent.config
    results = results_of(games, agent.env, greedy or config.learn.algo in TABULAR)
    origin = {"checkpoint": str(trained.path), "env_steps": trained.env_steps, "device": device}
    results |= {**origin, "trained_in": trained.env_id}
    if judge := find_judge(config):
        exact = judge(agent.policy.parameters.views["q"].numpy())
        results |= {**exact._asdict(), "best_stationary": judge.best_stationary}
    return results


def find_device(gpu_id: int) -> str:
    """The device of a GPU's number, of the CPU for -1. Raises UsageError when there is no such GPU."""
    if gpu_id < 0:
        return "cpu"
    count = torch.cuda.device_count()
    if gpu_id >= count:
        there = f"this machine has {', '.join(map(str, range(count)))}" if count else "no GPU was found here"
        raise UsageError(f"--gpu-id {gpu_id}: {there}; without --gpu-id the CPU does the work")
    return f"cuda:{gpu_id}"


def _introduction(trained: Trained, agent: Rebuilt, device: str, first: bool) -> str:
    learn = agent.config.learn
    lines = [
        f"{trained.path}: {learn.algo}{f' with {learn.model}' * bool(learn.model)}, "
        f"{'a package' if trained.role == PACKAGE else f'the {trained.role} checkpoint'}, "
        f"{trained.env_steps} steps of training",
        f"{printable(agent.env.describe())}; on {device}",
    ]
    if recipe := trained.recipe:
        began = "nothing was trained here yet; this agent comes" if first else "it comes"
        lines.append(f"{began} with the program; one like it: {recipe.command}")
    if agent.env.env_id != trained.env_id:
        lines.append(f"trained in {shown(trained.env_id)}; other rules here: {'; '.join(agent.changed)}")
    return "\n".join(lines)


def _seeds(agent: Rebuilt, options: argparse.Namespace) -> tuple[int, ...]:
    if not options.named_seeds:
        return tuple(range(options.seed, options.seed + options.num_episodes))
    found = published_seeds(agent.env.env_id)
    if not found:
        raise UsageError(f"--seeds {options.named_seeds}: none are known for {agent.env.env_id}")
    return found[: options.num_episodes]


def _show_table(agent: Rebuilt) -> None:
    """Draws a table's policy, where it can be drawn."""
    config = agent.config
    if config.learn.algo not in TABULAR:
        return
    q = agent.policy.parameters.views["q"].numpy()
    if is_blank(q):
        _warn("all cells of the table are equal: nothing was learned, and the policy is chance")
    if picture := draw_policy(config.env, q):
        print(f"the policy (a diagonal arrow: either of two actions; *: any of more):\n{picture}")


def _baseline(agent: Rebuilt, seeds: tuple[int, ...]) -> Results:
    """The same games, played by the random agent."""
    make = partial(make_env, agent.config.env, training=False)
    games = play_seeds(RandomAgent(agent.env.num_actions, seeds[0]), make, seeds)
    scores = finish(with_progress(games, len(seeds))).scores
    s = summarise(scores)
    return {"random_scores": scores, "random_mean": s.mean, "random_std": s.std}


def _play(
    agent: Rebuilt, seeds: tuple[int, ...], options: argparse.Namespace, display: Display | None
) -> Games | None:
    """One game per seed: in batches, or one after another where they are shown or filmed. None when the
    window was closed before a game was over."""
    if options.video is None:
        return _play_before(display, agent, seeds, None)
    with filming(options.video, picture_rate(agent.env), _warn) as film:
        games = _play_before(display, agent, seeds, film)
    if film.length:
        print(f"{film.length} pictures written to {options.video}")
    return games


def _play_before(
    display: Display | None, agent: Rebuilt, seeds: tuple[int, ...], film: Film | None
) -> Games | None:
    policy, config = agent.policy, agent.config.env
    if display is not None:
        try:
            with display:
                return _sum([*watch(policy, config, seeds, display, film=film)])
        except UsageError as error:
            _warn(f"{error}; nothing is shown")
    if film is not None:
        return _sum([finish(film.play(policy, config, (seed,))) for seed in seeds])
    return finish(with_progress(play_all(agent, seeds), len(seeds)))


def _sum(games: list[Games]) -> Games | None:
    return reduce(operator.add, games) if games else None


def _window() -> Display | str:
    """A window, or why there is none."""
    from evaluators.showing.game_window import GameWindow

    try:
        return GameWindow()
    except UsageError as error:
        return str(error)


def _warn(words: str) -> None:
    print(f"warning: {words}", file=sys.stderr)
