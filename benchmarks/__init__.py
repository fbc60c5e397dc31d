"""Measurements: each script prints what it measured and keeps it in benchmarks/results/."""
