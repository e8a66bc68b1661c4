"""Lists of pairs as the commands read and match them, and the algorithm they are matched with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gcm_cli.console import Console, plural
from gcm_cli.watch import Watch, pair_bar

if TYPE_CHECKING:
    from gcm.benchmark.extract import Extraction
    from gcm.benchmark.pairs import Pair
    from gcm.config import MatcherConfig
    from gcm.matcher import Matcher
    from gcm.matchers import MatcherSpec
    from gcm_cli.sharded import Sharding

__all__ = ["MATCHES", "load_matcher", "match_list", "read_list", "results_in", "specify"]

MATCHES = "matches"
"""The folder of results in the folder that ``gcm reconstruct`` makes."""


def results_in(folder: Path) -> Path:
    """The folder of results that is meant: the one given, or the one in what ``gcm reconstruct`` made."""
    from gcm.benchmark.layout import PAIRS_FILE

    below = folder / MATCHES
    return below if not (folder / PAIRS_FILE).exists() and (below / PAIRS_FILE).is_file() else folder


def read_list(
    console: Console,
    list_file: Path,
    *,
    masks: tuple[Path, Path | None] | None = None,
    alpha: bool = False,
    root: Path | None = None,
    beside: Path | None = None,
) -> list[Pair]:
    """The pairs of a list, after a look whether its files are there.

    `masks` as of `with_masks`; pairs whose names others have in the folder `beside` get new ones.
    """
    from gcm.benchmark.growing import name_beside
    from gcm.benchmark.layout import read_places
    from gcm.benchmark.pairs import check_files, check_masks, with_masks
    from gcm.benchmark.poses import read_any_pairs

    listed = read_any_pairs(list_file, root)
    for warning in check_files(listed, list_file, root):
        console.warn(warning)
    if beside is not None:
        listed = name_beside(listed, read_places(beside))
    if masks is not None:
        listed = with_masks(listed, *masks)
        check_masks(listed)
        bare = sum(pair.mask0 is None or pair.mask1 is None for pair in listed)
        if bare:
            console.note(f"{masks[0]}: no mask of a photo of {plural(bare, 'pair')}; all of it counts")
    if alpha:
        listed = [replace(pair, alpha=True) for pair in listed]
        opaque, images = _without_alpha(listed)
        if opaque:
            console.note(f"{opaque} of {plural(images, 'photo')} without an alpha channel; all of it counts")
    return listed


def match_list(
    console: Console,
    listed: Sequence[Pair],
    folder: Path,
    spec: MatcherSpec,
    *,
    workers: int | None = None,
    at_once: int | None = None,
    overwrite: bool = False,
    store: str | None = None,
    precision: str | None = None,
    sharding: Sharding | None = None,
) -> Extraction:
    """Match the pairs of a list into a folder, with a progress bar."""
    from gcm.benchmark.extract import extract as run
    from gcm.benchmark.extract import results_folder
    from gcm.scale.shards import collect_shards

    how: dict[str, Any] = {
        "workers": workers,
        "at_once": at_once,
        "overwrite": overwrite,
        "store": store,
        "precision": precision,
    }
    with pair_bar(console) as bar:
        watch = Watch(console, bar, bar.add_task(spec.name, total=len(listed), rate=""), len(listed))
        if sharding is not None:
            report = sharding.run(console, listed, spec, folder, watch, **how)
        else:
            target = results_folder(folder, spec, store, precision, overwrite=overwrite)
            collect_shards(target, discard=overwrite)
            report = run(listed, spec, folder, on_begin=watch.begin, on_pair=watch.advance, **how)
        watch.close()
        return report


def load_matcher(
    config: MatcherConfig,
    name: str | None,
    changes: Mapping[str, Any],
    features: tuple[Path | None, float] | None = None,
) -> Matcher:
    """The matcher of a configuration; a device in a file may give way to the CPU, not one among `changes`.

    `changes` are what the command line changed of the configuration, `features` the folder in which maps are
    kept, and the GiB they may take.
    """
    from gcm.features.device import choose_device
    from gcm.features.folder import FEATURES_SIZE
    from gcm.matcher import Matcher

    choose_device(config.device, strict="device" in changes)
    folder, size = features or (None, FEATURES_SIZE)
    return Matcher(config, name=name or "default", features=folder, features_size=size)


def _without_alpha(pairs: Sequence[Pair]) -> tuple[int, int]:
    """How many of the images of some pairs have no alpha channel, and how many there are."""
    from gcm.errors import ImageError
    from gcm.images.files import read_file_header

    images = {image for pair in pairs for image in (pair.image0, pair.image1)}
    opaque = 0
    for image in images:
        with suppress(ImageError):  # told when it is to be matched
            opaque += not read_file_header(image).has_alpha
    return opaque, len(images)


def specify(
    algorithm: str,
    config: str | None,
    ratio: float | None,
    settings: dict[str, Any],
    features: tuple[Path, float] | None = None,
) -> tuple[MatcherSpec, str | None]:
    """The algorithm with its options, and the folder its configuration names.

    `features` are the folder in which maps are kept, and the GiB they may take.
    """
    from gcm.config import load_config
    from gcm.errors import UsageError
    from gcm.matchers import matcher_spec

    if algorithm.lower() == "gcm":
        if ratio is not None:
            raise UsageError("--ratio is for sift, orb, akaze and kaze; for gcm use --set ratio_th=[...]")
        loaded = load_config(config, **settings)
        if "device" in settings and loaded.device != "cpu":
            from gcm.features.device import choose_device

            # As with gcm match: one in a file may give way to the CPU, one asked for just now may not.
            choose_device(loaded.device, strict=True)
        kept = {} if features is None else {"features": str(features[0]), "features_size": features[1]}
        return matcher_spec("gcm", {"config": loaded, **kept}), loaded.output_directory
    if features is not None:
        raise UsageError(f"--features keeps the maps of gcm; {algorithm} has none")
    if config is not None:
        raise UsageError(f"--config is for gcm; {algorithm} takes --set KEY=VALUE")
    options = settings if ratio is None else settings | {"ratio": ratio}
    return matcher_spec(algorithm, options), f"Results/hpatches/{algorithm}"
