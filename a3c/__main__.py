"""The way into every command: `a3c`, `python -m a3c`, `run.py` and `eval.py`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from a3c.system import refusal


def main(argv: Sequence[str] | None = None) -> int:
    """`a3c.cli.main`, or one line and exit code 2 on a system that cannot even import it."""
    if trouble := refusal():
        print(f"error: {trouble}", file=sys.stderr)
        return 2
    from a3c.cli import main

    return main(argv)


if __name__ == "__main__":
    sys.exit(main())
