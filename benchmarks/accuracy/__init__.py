"""See ``python -m benchmarks.accuracy``."""
