"""Neural networks, and the compiled pooling that the A3C-LSTM's layers use.

A network maps observations to what an agent asks for. It knows no settings, environment or process; of the
project it may import `a3c.types`.
"""
