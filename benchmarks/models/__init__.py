"""Sparse models by ``gcm reconstruct`` beside COLMAP's own SIFT."""
