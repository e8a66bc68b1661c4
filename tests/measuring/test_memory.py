"""What the speed benchmark measures; of memory, a large pair in float32, as without bfloat16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.measure import Subject, forget, measure_memory, write_pair


@pytest.mark.slow
def test_fast_at_full_resolution_in_float32(shared: Path, tmp_path: Path) -> None:
    paths = write_pair(shared, "graf", (3000, 4000), tmp_path)
    subject = Subject("fast", str(shared), changes={"precision": "float32"})
    memory = measure_memory(subject, paths, threads=2)
    assert memory["matches"] > 10_000
    assert memory["above_imports_gib"] <= 1.7


@pytest.mark.parametrize("name", ["fast", "sift"])
def test_a_timed_match_pays_for_both_images(name: str) -> None:
    matcher = Subject(name, "").build()
    image = np.random.default_rng(1).integers(0, 255, (64, 80, 3), dtype=np.uint8)
    matcher.match(image, image)
    holder = getattr(matcher, "features", matcher)
    assert len(holder.cache) > 0
    forget(matcher)
    assert len(holder.cache) == 0
