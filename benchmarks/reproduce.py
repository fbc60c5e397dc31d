"""Trains a released agent anew, by the command on its card, and scores it as the released one was.

    python -m benchmarks.reproduce taxi            # or: make reproduce AGENT=taxi

The run is checkpoints/reproduced-NAME; an unfinished one is gone on with. What is after the name goes to
run.py too, such as `--max-time 1h`.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

from a3c.settings.config import RUNS_FOLDER
from a3c.storage.released import PREFIX, recipes, released
from benchmarks.common import ROOT, table, train_on

GAMES = 100


def main(argv: list[str]) -> int:
    known = recipes()
    if not argv or argv[0] not in known:
        print(f"name a released agent: {', '.join(known)}", file=sys.stderr)
        return 2
    name, *more = argv
    recipe, run_dir = known[name], ROOT / RUNS_FOLDER / f"reproduced-{name}"
    print(recipe.command, flush=True)
    try:
        train_on(run_dir, [*shlex.split(recipe.flags), *more], quiet=False)
    except subprocess.CalledProcessError as error:
        return error.returncode
    result = run_dir / "score.json"
    games = ["--num-episodes", str(GAMES), "--json", str(result), *(["--greedy"] if recipe.greedy else [])]
    where = ["--run-dir", str(run_dir), "--checkpoint", recipe.checkpoint]
    subprocess.run([sys.executable, "eval.py", *where, *games], cwd=ROOT, check=True)
    mine = json.loads(result.read_text())
    rows = [["", "mean", "deviation", "games"], ["this one", mine["mean"], mine["std"], mine["n"]]]
    if name in released():
        theirs = json.loads((recipe.path / "results.json").read_text())
        numbers = [theirs[key] for key in ("mean_reward", "std_reward", "n_eval_episodes")]
        rows.append([f"{PREFIX}{name}", *numbers])
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
