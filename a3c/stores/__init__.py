"""Shared state: the weights, the optimizer's moments and the counters, and how workers
pull and push them.

`base` is the contract; `shared` keeps it in the shared memory of one machine. It may import `learning` for
schedules, `settings`, and the ground.
"""
