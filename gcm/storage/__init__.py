"""Files: written whole, locked, fetched, unpacked, read.

    >>> from gcm.storage import download_file, whole_file

Names are imported when first used, so that one of them costs nothing of the others.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
