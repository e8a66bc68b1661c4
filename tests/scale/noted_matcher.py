"""ORB that notes every pair it begins and kills its process when it is told to; and the script that uses it.

    python noted_matcher.py pairs.txt OUT "LocalEngine(2)" 4

The environment says where pairs are noted (`NOTED`), how long each takes (`SECONDS_EACH`), how many are
handed over together (`AT_ONCE`), at which pair the process is killed (`DEADLY`) and, with a file that is made
by the first kill (`ONCE`), that this happens once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from made_list import SPEC

from gcm.benchmark.pairs import read_pairs
from gcm.errors import GCMError
from gcm.matchers import MatcherSpec
from gcm.matches import Matches
from gcm.scale import LocalEngine, RayEngine, SlurmEngine, extract_sharded

ENGINES = {"LocalEngine": LocalEngine, "RayEngine": RayEngine, "SlurmEngine": SlurmEngine}


class Noted:
    """ORB, watched."""

    name = "orb"

    def __init__(self) -> None:
        self.inner = SPEC.create()

    def match(self, image0: Path, image1: Path) -> Matches:
        name = f"{image0.stem}_{image1.stem}"
        with open(os.environ["NOTED"], "a") as file:  # noqa: PTH123
            file.write(name + "\n")
        time.sleep(float(os.environ.get("SECONDS_EACH", "0")))
        if name == os.environ.get("DEADLY"):
            once = os.environ.get("ONCE")
            if once is None or not Path(once).exists():
                if once is not None:
                    Path(once).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.inner.match(image0, image1)

    def match_many(self, pairs: list[tuple[Path, Path]]) -> list[Matches]:
        return [self.match(*pair) for pair in pairs]


@dataclass(frozen=True)
class NotedSpec(MatcherSpec):
    """Describes itself as ORB, whose results it gives."""

    name: str = "orb"
    options: Any = field(default_factory=lambda: dict(SPEC.options))

    def create(self) -> Any:
        return Noted()


def main() -> None:
    listed, output, engine, shards = sys.argv[1:]
    try:
        report = extract_sharded(
            read_pairs(Path(listed)),
            NotedSpec(),
            Path(output),
            eval(engine, dict(ENGINES)),
            shards=int(shards),
            at_once=int(os.environ["AT_ONCE"]) if "AT_ONCE" in os.environ else None,
        )
    except GCMError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps({"done": report.done, "skipped": report.skipped, "failed": report.failed}))


if __name__ == "__main__":
    # By its own name, so that other processes can load what is sent to them.
    import noted_matcher

    noted_matcher.main()
