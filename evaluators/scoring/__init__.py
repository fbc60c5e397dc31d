"""`a3c eval`: scores what was trained. It may import `games`, `showing` and `a3c.trained`."""
