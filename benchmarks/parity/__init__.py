"""See ``python -m benchmarks.parity``."""
