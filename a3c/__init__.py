"""A3C-style multiprocess actor-learner training. See README.md."""

__version__ = "0.1.0"
