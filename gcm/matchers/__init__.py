"""Matching algorithms behind one interface, so that a benchmark can compare them.

An algorithm is any object with a `name` and ``match(image0, image1) -> gcm.matches.Matches``; ours is
:class:`gcm.matcher.Matcher`. Each is made by a factory: a callable whose keyword arguments, all with
defaults, are the algorithm's options. A package of your own adds one with an entry point, and needs nothing
else::

    [project.entry-points."gcm.matchers"]
    my-matcher = "my_package.matching:create"

``gcm extract --algorithm my-matcher --set option=value`` then finds it.
"""

from gcm.matchers.registry import Algorithm, AlgorithmSpec, algorithm_spec, list_algorithms

__all__ = ["Algorithm", "AlgorithmSpec", "algorithm_spec", "list_algorithms"]
