"""Many photos of one scene: which pairs to match, what their matches have in common, and a model of it all.

`photos` lists a folder, `pair_lists` and `similarity` choose pairs, `collection` reads what ``gcm extract``
found of them, `tracks` joins matches of pairs to points that many photos show, and `reconstruction` goes the
whole way to a sparse model by way of COLMAP. The formats of other tools are in :mod:`gcm.export`.
"""
