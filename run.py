"""Trains: python run.py --env Breakout-v0 --workers 8. The flags are those of `a3c run`; see --help."""

import sys

from a3c.__main__ import main

if __name__ == "__main__":  # workers are spawned, and a spawned process imports this file again
    sys.exit(main(["run", *sys.argv[1:]]))
