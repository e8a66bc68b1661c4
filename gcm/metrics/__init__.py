"""Measures of matches against ground truth, and the protocols that combine them; numpy and OpenCV only."""
