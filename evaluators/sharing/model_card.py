"""The model card of a package: what the Hub shows, with results that it can read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from a3c.console.panel import duration

_TAGS = ("deep-reinforcement-learning", "reinforcement-learning", "custom-implementation")
_SHOWN = ("model", "gamma", "num_steps", "envs_per_worker", "optimizer", "lr", "frame_skip", "frame_stack")


def model_card(results: dict[str, Any], files: Sequence[str]) -> str:
    """README.md: front matter of metadata, then words for people.

    Args:
        results: the content of results.json.
        files: names of the package's files.
    """
    env, algo = results["env_id"], results["algo"]
    score = f"{results['mean_reward']:.2f} +/- {results['std_reward']:.2f}"
    protocol, settings = results["protocol"], results["hyperparameters"]
    actions = "the likeliest action" if results["is_deterministic"] else "actions sampled from the policy"
    shown = [f"| {name} | {settings[name]} |" for name in _SHOWN if settings.get(name) is not None]
    module = f" --env {env}" if ":" in env else ""  # a module is imported only when it is typed
    replay = ["A game is in [replay.mp4](replay.mp4)."] if "replay.mp4" in files else []
    return "\n".join(
        [
            "---",
            *_front_matter(env, algo, score),
            "---",
            "",
            f"# {algo} playing {env}",
            "",
            f"Mean score **{score}** over {results['n_eval_episodes']} whole games (unclipped, all lives), "
            f"with {actions}, after {results['env_steps']} steps of training.",
            f"Lowest {protocol['min']:g}, median {protocol['median']:g}, highest {protocol['max']:g}; seeds "
            f"{protocol['seeds'][0]} to {protocol['seeds'][-1]}.",
            *replay,
            "",
            "## Use it",
            "",
            "```",
            *_ways_to_use(results, module),
            "```",
            "",
            "The weights are in safetensors and everything else is JSON: loading it runs no code of others.",
            *_half(results),
            "",
            *_training(results),
            "## How it was scored",
            "",
            f"Protocol {protocol['protocol']}, sticky actions {protocol['sticky']:g}, frames per step "
            f"{'-'.join(map(str, sorted(set(protocol['frame_skip']))))}; observation: "
            f"{protocol['preprocessing'] or 'as the environment gives it'}. All scores and seeds are in "
            "results.json.",
            "",
            "## Settings",
            "",
            "| setting | value |",
            "|---|---|",
            *shown,
            "",
            "All of them are in config.json.",
            "",
        ]
    )


def _ways_to_use(results: dict[str, Any], module: str) -> list[str]:
    if "training" in results:
        name = f"released:{results['training']['name']}"
        return [
            f"python eval.py --checkpoint {name} --render     # watch it",
            f"a3c play --watch {name}                         # in the terminal",
        ]
    return [
        f"a3c eval --checkpoint hub:USER/NAME{module}     # from the Hub",
        f"a3c eval --checkpoint FOLDER{module}            # from this folder",
    ]


def _half(results: dict[str, Any]) -> list[str]:
    if "half" not in results:
        return []
    half = results["half"]
    return [
        f"They are kept in {half['format']}, and were scored so; with all 32 bits the same games have "
        f"{half['full_mean']:.2f} +/- {half['full_std']:.2f}."
    ]


def _training(results: dict[str, Any]) -> list[str]:
    """Of a released agent: how to get one like it."""
    if "training" not in results:
        return []
    training = results["training"]
    starts = f" in {training['starts']} parts" if training["starts"] > 1 else ""
    took = duration(3600 * training["hours"])
    again = "In one process, it repeats to the bit on the same kind of processor."
    if training["workers"]:
        again = "Lock-free updates do not repeat to the bit: other runs score a little more or less."
    return [
        "## How it was trained",
        "",
        "```",
        training["command"],
        "```",
        "",
        f"Seed {training['seed']}, {took}{starts} on {training['processor']}, begun {training['date']}. "
        f"`make reproduce AGENT={training['name']}` runs the command. {again}",
        *filter(None, [training["note"]]),
        "",
    ]


def _front_matter(env: str, algo: str, score: str) -> list[str]:
    """YAML; strings are quoted as JSON, which is YAML too."""
    name = json.dumps(env)
    return [
        "library_name: a3c",
        "tags:",
        f"- {name}",
        *(f"- {tag}" for tag in _TAGS),
        "model-index:",
        f"- name: {json.dumps(f'{algo}-{env}')}",
        "  results:",
        "  - task:",
        "      type: reinforcement-learning",
        "      name: reinforcement-learning",
        "    dataset:",
        f"      name: {name}",
        f"      type: {name}",
        "    metrics:",
        "    - type: mean_reward",
        f"      value: {json.dumps(score)}",
        "      name: mean_reward",
        "      verified: false",
    ]
