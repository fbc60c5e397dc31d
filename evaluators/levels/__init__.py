"""`a3c levels`: ranks levels of the frozen lake by difficulty. It may import `games` and `a3c.trained`."""
