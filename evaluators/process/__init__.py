"""The evaluator process of a run: it scores the shared model, keeps checkpoints and writes the logs.

It may import `a3c` below the trainer, and `games`.
"""
