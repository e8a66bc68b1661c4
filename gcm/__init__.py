"""GCM: precise point correspondences between two photos of the same thing.

    >>> import gcm
    >>> matches = gcm.match("left.png", "right.png")
    >>> matches.points0, matches.points1, matches.scores, matches.h_0_to_1

Names are imported when first used, so that ``import gcm`` costs nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
