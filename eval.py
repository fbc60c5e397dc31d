"""Scores, shows or films what was trained: python eval.py. The flags are those of `a3c eval`; see --help."""

import sys

from a3c.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["eval", *sys.argv[1:]]))
