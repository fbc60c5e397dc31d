"""Every setting of a run: declared once, put together from defaults, a preset and flags, checked together.

Standard library only, so that `--help` is instant. It may import `a3c.errors` and nothing else of the
project; everything above takes its group of settings as an argument.
"""
