"""Data sets: fetching, unpacking and organising HPatches; lists of image pairs."""
