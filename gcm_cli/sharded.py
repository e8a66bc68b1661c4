"""The part of ``gcm extract`` that works on several machines: shards, engines, and what they will cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gcm_cli.console import Console, human_size, plural
from gcm_cli.options import parse_settings

if TYPE_CHECKING:
    from gcm.benchmark.extract import Extraction
    from gcm.benchmark.pairs import Pair
    from gcm.matchers import MatcherSpec
    from gcm.scale.cut import Cut
    from gcm.scale.engines import Engine, Event
    from gcm.scale.number import ShardNumber
    from gcm_cli.watch import Watch

__all__ = [
    "EstimateOption",
    "ExecutorOption",
    "ExecutorSetOption",
    "ShardOption",
    "Sharding",
    "ShardsOption",
    "estimate_cost",
    "read_sharding",
]

Executor = Literal["local", "ray", "slurm"]

ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Match only the I-th of N parts of the list; any number of machines, each another part.",
        show_default="that of a Slurm, Grid Engine, AWS Batch or Cloud Run array, if in one",
    ),
]
ExecutorOption = Annotated[
    Executor | None,
    typer.Option(help="Match all parts: by processes (a GPU each), a Ray cluster, or Slurm jobs."),
]
ShardsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Parts for --executor.", show_default="4 a worker; to be given for slurm"),
]
ExecutorSetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--executor-set",
        metavar="KEY=VALUE",
        help="ray: address, num_cpus, cpus, gpus; slurm: partition, timeout_min, gpus_per_node, ...",
    ),
]
EstimateOption = Annotated[
    bool, typer.Option("--estimate", help="Match 40 pairs and say what the list will cost; writes nothing.")
]


@dataclass(frozen=True)
class Sharding:
    """How the work is parted: a shard of it to be done here, or all by an engine."""

    number: ShardNumber | None = None
    engine: Engine | None = None
    shards: int | None = None

    def run(
        self,
        console: Console,
        pairs: Sequence[Pair],
        spec: MatcherSpec,
        folder: Path,
        watch: Watch,
        *,
        workers: int | None,
        at_once: int | None,
        overwrite: bool,
        store: str | None,
        precision: str | None,
    ) -> Extraction:
        """Match what is to be matched here; the options as of :func:`gcm.benchmark.extract.extract`."""
        how: dict[str, Any] = {"at_once": at_once, "store": store, "precision": precision}
        if self.engine is None:
            return self._run_one(console, pairs, spec, folder, watch, workers=workers, **how)
        from gcm.scale.engines import extract_sharded

        def begin(pending: int, cut: Cut) -> None:
            console.note(describe_cut(pairs, cut))
            watch.begin(pending)

        def tell(event: Event) -> None:
            if event.note:
                console.note(event.note)
            for name, reason in event.failed.items():
                watch.fail(name, reason)
            watch.count(event.done + len(event.failed))

        return extract_sharded(
            pairs,
            spec,
            folder,
            self.engine,
            shards=self.shards,
            overwrite=overwrite,
            on_begin=begin,
            on_event=tell,
            **how,
        )

    def _run_one(
        self,
        console: Console,
        pairs: Sequence[Pair],
        spec: MatcherSpec,
        folder: Path,
        watch: Watch,
        **how: Any,
    ) -> Extraction:
        from gcm.scale.shards import cut_shards, run_shard

        assert self.number is not None
        shards, cut = cut_shards(pairs, self.number.count)
        shard = shards[self.number.index - 1]
        console.note(
            f"shard {self.number}: {plural(len(shard.pairs), 'pair')} of {plural(shard.images, 'image')}; "
            + describe_cut(pairs, cut)
        )
        return run_shard(
            shard,
            spec,
            folder,
            listed=pairs,
            on_begin=lambda pending: watch.begin(pending, len(shard.pairs)),
            on_pair=watch.advance,
            **how,
        )


def describe_cut(pairs: Sequence[Pair], cut: Cut) -> str:
    """A line on what a cut costs."""
    return (
        f"{plural(len(pairs), 'pair')} of {plural(cut.images, 'image')} in "
        f"{plural(len(cut.parts), 'shard')}, which compute {cut.factor:.2f} times as many image features as "
        "one machine that keeps all"
    )


def read_sharding(
    console: Console,
    shard: str | None,
    executor: Executor | None,
    shards: int | None,
    executor_settings: list[str] | None,
    *,
    workers: int | None,
    overwrite: bool,
) -> Sharding | None:
    """What the options say; None where everything is matched here as ever."""
    from gcm.errors import UsageError
    from gcm.scale.number import ShardNumber, scheduled_number

    settings = parse_settings(executor_settings, "--executor-set")
    if settings and executor is None:
        raise UsageError("--executor-set is for --executor ray or slurm")
    if executor is not None or shards is not None:
        if shard is not None:
            raise UsageError("--shard matches one part here, --executor and --shards all; give one of them")
        return Sharding(engine=_engine(executor or "local", workers, settings), shards=shards)
    if shard is not None:
        number: ShardNumber | None = ShardNumber.parse(shard)
        source = "--shard"
    else:
        number, source = scheduled_number() or (None, "")
        if number is not None:
            console.note(f"shard {number}, as {source} says; --shard 1/1 matches everything")
    if number is None or number.count == 1:
        return None
    if overwrite:
        raise UsageError(f"--overwrite would remove what other shards found ({source}); use another folder")
    return Sharding(number)


def _engine(executor: Executor, workers: int | None, settings: dict[str, Any]) -> Engine:
    from gcm.errors import UsageError, did_you_mean
    from gcm.scale.local import LocalEngine
    from gcm.scale.ray_cluster import RayEngine
    from gcm.scale.slurm import SlurmEngine

    if executor == "slurm":
        return SlurmEngine(workers, **settings)
    known = ("address", "num_cpus", "cpus", "gpus") if executor == "ray" else ()
    for key in settings:
        if key not in known:
            names = ", ".join(known) or "none"
            raise UsageError(f"--executor-set {key}: {executor} has {names}{did_you_mean(key, known)}")
    return RayEngine(workers, **settings) if executor == "ray" else LocalEngine(workers)


def estimate_cost(
    console: Console,
    pairs: Sequence[Pair],
    spec: MatcherSpec,
    *,
    shards: int | None,
    workers: int | None,
) -> None:
    """Say what a list will cost, from a sample of its pairs."""
    from gcm.scale.cost import SAMPLE, count_features, measure, predict
    from gcm.scale.cut import cut_pairs

    with console.progress() as bar:
        task = bar.add_task("measuring", total=min(SAMPLE, len(pairs)) + 1)
        measured = measure(spec, pairs, on_pair=lambda: bar.advance(task))
    cut = cut_pairs(pairs, shards or 1)
    features = count_features(pairs, cut, measured.kept_images)
    told = predict(measured, features=features, pairs=len(pairs), workers=workers or 1)
    console.text(
        "\n".join(
            [
                describe_cut(pairs, cut),
                f"an image: {measured.image_seconds:.3f} s; a pair: {measured.pair_seconds:.3f} s, "
                f"{human_size(round(measured.pair_bytes))} (from {plural(measured.pairs, 'pair')}, "
                "on one worker of this machine)",
                f"image features that are computed: {features} (a worker keeps those of "
                + ("all images)" if measured.kept_images is None else f"{measured.kept_images} images)"),
                f"{plural(told.workers, 'worker')} like it: {_duration(told.seconds)}, "
                f"{human_size(round(told.result_bytes))} of results",
            ]
        )
    )
    console.document(
        {
            "pairs": len(pairs),
            "images": cut.images,
            "shards": len(cut.parts),
            "factor": cut.factor,
            "features": features,
            **asdict(measured) | {"sample": measured.pairs, "pairs": len(pairs)},
            "workers": told.workers,
            "work_seconds": told.work_seconds,
            "seconds": told.seconds,
            "result_bytes": told.result_bytes,
        }
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
