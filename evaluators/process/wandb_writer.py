"""The process that hands curves to Weights & Biases, whose library may wait and fail here as it likes.

It is this file, run as a script by `evaluators.process.tracking`, and reads lines of JSON from its standard
input: what run it is, then `[env_steps, {tag: value}]`. What a person should know it prints, a line each.
Without a network the curves are kept beside the run.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

_INIT_S = "20"  # how long the service may take to answer at the start, unless the user set it
_STEP = "env_steps"


def main() -> None:
    """Passes on all points until the input ends, which is also when the evaluator died."""
    os.umask(0o077)
    os.environ.setdefault("WANDB_INIT_TIMEOUT", _INIT_S)
    about = json.loads(sys.stdin.readline())
    import wandb  # an optional extra, and slow to import

    try:
        run = begin(wandb, about, offline=os.environ.get("WANDB_MODE") == "offline")
    except Exception as error:  # of many kinds: no key, no network, no right, an answer that makes no sense
        tell(f"Weights & Biases does not take the curves ({error}); they are kept in {about['dir']}/wandb")
        wandb.teardown()
        run = begin(wandb, about, offline=True)
    run.define_metric(_STEP)
    run.define_metric("*", step_metric=_STEP)
    for line in sys.stdin:
        step, points = json.loads(line)
        run.log({_STEP: step, **points})
    run.finish()


def begin(wandb: Any, about: Mapping[str, Any], offline: bool) -> Any:
    """The run at Weights & Biases, continued when it is there already. Sends nothing about the machine."""
    settings = wandb.Settings(
        silent=True, console="off", disable_git=True, disable_code=True,
        x_disable_meta=True, x_disable_stats=True, x_save_requirements=False,
    )  # fmt: skip
    mode = {"mode": "offline"} if offline else {"resume": "allow"}
    return wandb.init(**about, **mode, settings=settings)


def tell(text: str) -> None:
    """One line for the run's log."""
    print(" ".join(text.split()), flush=True)


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        tell(f"Weights & Biases failed: {type(error).__name__}: {error}")
        raise SystemExit(1) from error
