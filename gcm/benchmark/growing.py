"""More photos beside those whose pairs have been matched: which names their pairs get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gcm.benchmark.layout import Places, remembered
from gcm.benchmark.pairs import Pair, as_file_systems_see, pair_name
from gcm.errors import DatasetError

__all__ = ["name_beside"]


def name_beside(pairs: Sequence[Pair], places: Places) -> list[Pair]:
    """Pairs of a new list under names that stand for no other images in a folder of results.

    A pair that the folder knows keeps its name there. Another whose name is taken gets the names of its
    folders in front, as many as it needs.

    Args:
        pairs: of the list, named.
        places: of the folder, as :func:`gcm.benchmark.layout.read_places` gives them.

    Raises:
        DatasetError: a pair that no name tells apart.
    """
    known = {(place["image0"], place["image1"]): name for name, place in places.items()}
    there = set(map(as_file_systems_see, places))
    taken = there | {as_file_systems_see(pair.name) for pair in pairs}
    named = []
    for pair in pairs:
        images = remembered(pair.image0), remembered(pair.image1)
        name = known.get(images, pair.name)
        if images not in known and as_file_systems_see(pair.name) in there:
            name = _free_name(pair, taken)
            taken.add(as_file_systems_see(name))
        named.append(replace(pair, name=name))
    return named


def _free_name(pair: Pair, taken: set[str]) -> str:
    for depth in range(1, len(pair.image0.parts)):
        name = pair_name(pair, depth)
        if as_file_systems_see(name) not in taken:
            return name
    raise DatasetError(
        f"{pair.image0}: its name cannot be told apart from that of a photo matched before; rename it"
    )
