"""The memory that `fast` takes of a large pair, in float32, as on processors without bfloat16."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.speed.measure import Subject, measure_memory, write_pair


@pytest.mark.slow
def test_fast_at_full_resolution_in_float32(shared: Path, tmp_path: Path) -> None:
    paths = write_pair(shared, "graf", (3000, 4000), tmp_path)
    subject = Subject("fast", str(shared), changes={"precision": "float32"})
    memory = measure_memory(subject, paths, threads=2)
    assert memory["matches"] > 10_000
    assert memory["above_imports_gib"] <= 2.0
