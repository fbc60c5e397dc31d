"""Games on a display: `a3c play`, `--render` and films. It may import `games` and `a3c.trained`."""
