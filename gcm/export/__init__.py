"""Results in the form of other tools: COLMAP, hloc, kapture; and a sparse model by way of COLMAP.

    >>> from gcm.export import Cameras, make_model, write_database
    >>> cameras = Cameras.read("920,920,512,341", photos)
    >>> write_database(Path("model/database.db"), Path("photos"), photos, tracks, cameras)
    >>> make_model(Path("photos"), Path("model"), cameras)

Points here are counted from the centre of the top-left pixel; where a tool counts from that pixel's corner,
half a pixel is added in the last line before its file. Photos that lie turned in their files are turned back
where the tool does not turn them. Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
