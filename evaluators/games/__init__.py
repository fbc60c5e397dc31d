"""Playing whole games, exact values where a table allows them, and statistics of scores.

It may import `a3c`'s agents and environments; every other wing stands on it.
"""
