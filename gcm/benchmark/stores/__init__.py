"""Where the matches of many pairs are kept: a file a pair (npz), or many pairs a file (h5, parquet).

``open_store`` opens whatever a folder of results holds; every command reads through it. ``convert_store``
writes one kind from another. h5py and pyarrow are imported only where a folder asks for them.
"""

from gcm.benchmark.stores.base import STORES, MatchStore, same_matches
from gcm.benchmark.stores.converting import StoreCopy, convert_store
from gcm.benchmark.stores.npz import NpzStore
from gcm.benchmark.stores.opening import clear_store, open_store, store_for_writing
from gcm.benchmark.stores.packed import PackedStore
from gcm.benchmark.stores.precision import PRECISIONS

__all__ = [
    "PRECISIONS",
    "STORES",
    "MatchStore",
    "NpzStore",
    "PackedStore",
    "StoreCopy",
    "clear_store",
    "convert_store",
    "open_store",
    "same_matches",
    "store_for_writing",
]
