"""Many pairs on many machines: a list cut into shards, engines that run them, and results put together.

    >>> from gcm.scale import LocalEngine, extract_sharded
    >>> extract_sharded(pairs, spec, Path("matches"), LocalEngine(workers=2), shards=8)

`cut` parts a list so that images are shared by few parts; `shards` matches a part, on whichever machine, and
`number` says which; `results` and `merge` bring folders together; `engines` keeps workers busy, in `local`
processes, on a Ray cluster (`ray_cluster`) or under Slurm (`slurm`); `cost` foretells how long it will take.
Names are imported when first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
