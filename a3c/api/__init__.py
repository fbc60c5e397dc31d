"""The way in from Python: `a3c.load` and `a3c.train`. Like the command line, it puts the parts together.

`a3c` itself names what is in here, and imports it only when it is asked for.
"""
