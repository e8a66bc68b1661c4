"""Weights: what exists (`catalogue`), where it lies (`store`), and how it is read (`loading`)."""
