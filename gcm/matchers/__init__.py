"""Matchers behind one interface, ours and others', so that a benchmark can compare them.

A matcher is any object with a `name` and ``match(image0, image1) -> gcm.matches.Matches``; ours is
:class:`gcm.matcher.Matcher`. ``match_many(pairs)`` is optional, see :class:`PairMatcher`. Each is made by a
factory: a callable whose keyword arguments, all with defaults, are the matcher's options. A package of your
own adds one with an entry point, and needs nothing else::

    [project.entry-points."gcm.matchers"]
    my-matcher = "my_package.matching:create"

``gcm extract --algorithm my-matcher --set option=value`` then finds it.
"""

from gcm.matchers.base import PairMatcher, match_each
from gcm.matchers.registry import MatcherSpec, list_matchers, matcher_spec

__all__ = ["MatcherSpec", "PairMatcher", "list_matchers", "match_each", "matcher_spec"]
