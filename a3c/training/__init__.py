"""A run, from its start to its end. Start reading here: `trainer`, then `worker`, then `rollouts`.

The trainer opens the run and knows when to end it; its team, in processes or inline, is the workers and the
evaluator; a worker pulls weights, collects a rollout, learns and pushes; the session is what they share. It
may import every other wing of `a3c` but `trained`, and only `a3c.cli` imports it, besides the evaluator
process, which shares the session.
"""
