"""See ``python -m benchmarks.backbones``."""
