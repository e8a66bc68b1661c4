"""The `gcm` command; the library it drives is the package `gcm`."""

import os

# PyTorch's threads wait for each other by spinning, thousands of times a match. Where another process wants a
# core, each time takes milliseconds and a match forty times as long; spinning but briefly, twice as long.
# GNU's OpenMP reads this when PyTorch is imported, which comes after.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
