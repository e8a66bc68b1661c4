"""Names of the files and folders of a data set and of a folder of results; imports nothing heavy."""

from __future__ import annotations

__all__ = ["PAIR_LIST", "SEQUENCE_FILES", "SUBSETS"]

PAIR_LIST = "image_pairs.txt"
"""The list of all pairs in an organised data set's folder, see :mod:`gcm.benchmark.pairs`."""
SUBSETS = {"i": "illumination", "v": "viewpoint"}
"""Folder of a sequence in an organised data set, by the first letter of the sequence's name."""
SEQUENCE_FILES = tuple([f"{k}.ppm" for k in range(1, 7)] + [f"H_1_{k}" for k in range(2, 7)])
"""What every sequence folder of the HPatches release holds."""
