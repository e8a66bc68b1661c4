"""See ``python -m benchmarks.speed``."""
