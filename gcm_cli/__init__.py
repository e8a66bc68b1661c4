"""The `gcm` command; the library it drives is the package `gcm`."""

import os

# PyTorch's threads wait for each other by spinning, thousands of times a match. Where another process wants a
# core, each time takes milliseconds and a match forty times as long; spinning but briefly, twice as long.
# GNU's OpenMP reads this when PyTorch is imported, which comes after.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# The GNU C library gives freed memory back at once and takes it anew for the next map, page by page: some 8 %
# of the time of a list of small pairs. It reads these when a process starts, so they are for the workers.
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(32 * 2**20))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(256 * 2**20))
