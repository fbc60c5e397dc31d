"""The mathematics of learning: returns, losses, schedules, and the replay memory.

Functions of tensors and arrays with the formula, the shapes and the source in their docstrings. They know no
agent, environment or process; of the project they may import `a3c.errors`.
"""
