"""What is done with agents beside training them: scoring, watching, drawing, ranking, tuning and sharing.

The wings stand on `a3c`; of these only `process`, which is a part of every run, knows the training's session.
Flags of a subcommand are read in the `command.py` of its wing.
"""
