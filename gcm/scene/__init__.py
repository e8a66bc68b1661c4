"""Many photos of one scene: which pairs to match, what their matches have in common, and a model of it all.

    >>> from gcm.scene import list_photos, read_collection, tracks_of, verify_pairs
    >>> photos = list_photos(Path("photos"))
    >>> tracks = tracks_of(verify_pairs(read_collection(Path("matches"), photos)))   # of gcm extract

`photos` lists a folder, `pair_lists` and `similarity` choose pairs, `collection` reads what ``gcm extract``
found of them, `tracks` joins matches of pairs to points that many photos show, `intrinsics` reads cameras.
The formats of other tools are in :mod:`gcm.export`. Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
