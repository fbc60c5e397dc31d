"""Two results of the same benchmark side by side, with the quotient of every number both have.

python -m benchmarks.compare before.json after.json
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import table

_LEFT_OUT = ("machine", "training", "settings", "checkpoints")


def numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested data by its path; a list of numbers counts as its median."""
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, (int, float)):
        yield path, float(value)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key not in _LEFT_OUT:
                yield from numbers(part, f"{path}/{key}".strip("/"))
    elif isinstance(value, list) and value and all(isinstance(v, (int, float)) for v in value):
        yield path, statistics.median(value)
    elif isinstance(value, list):
        for i, part in enumerate(value):
            yield from numbers(part, f"{path}/{i}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args()
    before, after = (dict(numbers(json.loads(p.read_text()))) for p in (options.before, options.after))
    rows: list[list[Any]] = [["what", "before", "after", "after / before"]]
    for name in before:
        if name in after:
            quotient = after[name] / before[name] if before[name] else float("nan")
            rows.append([name, before[name], after[name], quotient])
    print(table(rows))


if __name__ == "__main__":
    main()
