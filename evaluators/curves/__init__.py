"""`a3c plot`: learning curves of runs. It may import `games` for exact references, and `a3c.storage`."""
