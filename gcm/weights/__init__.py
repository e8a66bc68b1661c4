"""Weights: which there are, where they lie on this machine, how they get there, and reading them safely.

    from gcm.weights import CATALOGUE, find_weights, fetch_weights
    find_weights(CATALOGUE["resnet18"])     # a path, or None
    fetch_weights(CATALOGUE["resnet18"])    # downloads and checks

Nothing here replaces missing weights by random ones. Names are imported when first used;
only :func:`load_checkpoint` imports PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
