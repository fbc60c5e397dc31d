"""Playing games with a trained agent and telling how it went."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial

import torch

from a3c.agents.random_agent import RandomAgent
from a3c.envs import make_env
from a3c.errors import UsageError
from a3c.settings.groups import TABULAR
from a3c.storage.atomic import storage_errors
from a3c.storage.records import write_json
from a3c.trained.find import Rebuilt, Trained, find_trained, rebuild
from evaluators.games.episodes import Games, finish, play_seeds
from evaluators.games.exact import published_seeds
from evaluators.games.progress import aloud
from evaluators.games.stats import summarise
from evaluators.games.tables import draw_policy, find_judge, is_blank
from evaluators.scoring.options import Options
from evaluators.scoring.report import Report, make_report, table
from evaluators.showing.video import check_format
from evaluators.showing.watch import Film, Screen, Window, no_window_because, picture_rate, watch


def score(options: Options) -> None:
    """Plays, prints the result, and writes it where it was asked for.

    Raises:
        A3CError: something the user can mend.
    """
    device = _device(options.gpu_id)
    _check_files(options)
    torch.set_num_threads(1)  # the same scores whatever the number of cores, and no fight with a training
    trained = find_trained(options.checkpoint, options.run_dir, options.env)
    agent = rebuild(trained, options.env, options.seed, device, options.greedy)
    print(_introduction(trained, agent, device))
    seeds = _seeds(agent, options)
    games = _play_all(agent, seeds, options, trained)
    if games is None:
        print("closed before a game was over: nothing to score")
        return
    report = make_report(games, agent.env, options.greedy or agent.config.learn.algo in TABULAR)
    report |= _examine(agent)
    if options.baseline:
        report |= _baseline(agent, games.seeds)
    print(table(report))
    if options.json:
        origin = {"checkpoint": str(trained.path), "env_steps": trained.env_steps, "device": device}
        with storage_errors(f"write {options.json}"):
            write_json(options.json, {**report, **origin, "trained_in": trained.env_id})
        print(f"result written to {options.json}")


def _device(gpu_id: int) -> str:
    if gpu_id < 0:
        return "cpu"
    count = torch.cuda.device_count()
    if gpu_id >= count:
        there = f"this machine has {', '.join(map(str, range(count)))}" if count else "no GPU was found here"
        raise UsageError(f"--gpu-id {gpu_id}: {there}; without --gpu-id the CPU does the work")
    return f"cuda:{gpu_id}"


def _check_files(options: Options) -> None:
    """Before minutes of play, not after."""
    if options.video:
        check_format(options.video)
    for flag, path in (("--video", options.video), ("--json", options.json)):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            raise UsageError(f"{flag} {path}: name a file in a folder that exists")


def _introduction(trained: Trained, agent: Rebuilt, device: str) -> str:
    learn = agent.config.learn
    lines = [
        f"{trained.path}: {learn.algo}{f' with {learn.model}' * bool(learn.model)}, "
        f"the {trained.role} checkpoint, "
        f"{trained.env_steps} steps of training",
        f"{agent.env.describe()}; on {device}",
    ]
    if agent.env.env_id != trained.env_id:
        lines.append(f"trained in {trained.env_id}; other rules here: {'; '.join(agent.changed)}")
    return "\n".join(lines)


def _seeds(agent: Rebuilt, options: Options) -> tuple[int, ...]:
    if not options.named_seeds:
        return options.seeds
    found = published_seeds(agent.env.env_id)
    if not found:
        raise UsageError(f"--seeds {options.named_seeds}: none are known for {agent.env.env_id}")
    return found[: options.num_episodes]


def _examine(agent: Rebuilt) -> Report:
    """What can be computed about a table, which is also drawn where it can be; nothing for a network."""
    config = agent.config
    if config.learn.algo not in TABULAR:
        return {}
    q = agent.policy.parameters.views["q"].numpy()
    if is_blank(q):
        print("warning: all cells of the table are equal: nothing was learned, and the policy is chance")
    if picture := draw_policy(config.env, q):
        print(f"the policy (a diagonal arrow: either of two actions; *: any of more):\n{picture}")
    judge = find_judge(config)
    return {} if judge is None else {**judge(q)._asdict(), "best_stationary": judge.best_stationary}


def _baseline(agent: Rebuilt, seeds: tuple[int, ...]) -> Report:
    """The same games, played by the random agent."""
    make = partial(make_env, agent.config.env, training=False)
    games = play_seeds(RandomAgent(agent.env.num_actions, seeds[0]), make, seeds)
    scores = finish(aloud(games, len(seeds))).scores
    s = summarise(scores)
    return {"random_scores": scores, "random_mean": s.mean, "random_std": s.std}


def _play_all(agent: Rebuilt, seeds: tuple[int, ...], options: Options, trained: Trained) -> Games | None:
    """One game per seed: in batches, or one after another where they are shown. None when the show was
    closed before a game was over."""
    games = None
    make = partial(make_env, agent.config.env, training=False, render=options.shows)
    if not options.shows:
        return finish(aloud(play_seeds(agent.policy, make, seeds), len(seeds)))
    with ExitStack() as stack:
        screens = [stack.enter_context(screen) for screen in _screens(agent, options, trained)]
        for seed in seeds:
            game = watch(play_seeds(agent.policy, make, (seed,)), screens)
            if game is None:
                break
            games = game if games is None else games + game
    return games


def _screens(agent: Rebuilt, options: Options, trained: Trained) -> list[Screen]:
    """Where the games are shown: the window that was asked for, or a video for want of a display."""
    fps, screens, video = picture_rate(agent.env), list[Screen](), options.video
    if options.render:
        obstacle = no_window_because()
        if obstacle:
            video = video or trained.run_dir / f"game-{trained.env_steps:09d}.mp4"
            print(f"--render: {obstacle}, so a video is written to {video}")
        else:
            screens.append(Window(f"{agent.env.env_id} - q closes", fps))
    if video:
        screens.append(Film(video, fps))
    return screens
