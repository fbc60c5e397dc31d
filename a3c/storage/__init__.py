"""A run on disk: its directory and lock, checkpoints written whole or not at all, records and metrics.

What is read here is never run, and what cannot be read is refused in one line. It may import `stores` for
the shapes of parameters and snapshots, `settings`, and the ground; it knows no agent and no environment.
"""
