"""Full-resolution descriptors where asked, against the whole map."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcm.backbones import compact
from gcm.backbones.compact import CompactNetwork
from gcm.backbones.registry import build_backbone
from gcm.backbones.small import SmallNetwork
from gcm.geometry import cell_to_pixel, pixel_to_cell
from gcm.refinement import maps
from gcm.refinement.maps import (
    DenseMap,
    SubcellMap,
    UnitMap,
    cells_to_points,
    gather,
    map_size,
    points_to_cells,
)


@pytest.fixture(scope="module")
def lazy_and_whole() -> tuple[SubcellMap, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = CompactNetwork().eval()
    with torch.no_grad():
        map2 = network.stem(torch.randn(1, 1, 20, 28))  # of too few channels: fill up
        map2 = torch.cat([map2, map2], dim=1)
        whole = network.pixels(map2)[0]
    layers = [(layer.weight.flatten(1), layer.bias) for layer in (network.pixel_hidden, network.pixel_out)]
    return SubcellMap(map2[0], *layers), whole


def test_shape(lazy_and_whole: tuple[SubcellMap, torch.Tensor]) -> None:
    lazy, whole = lazy_and_whole
    assert lazy.shape == tuple(whole.shape)
    assert map_size(lazy) == (28, 20)


def test_every_pixel(lazy_and_whole: tuple[SubcellMap, torch.Tensor]) -> None:
    lazy, whole = lazy_and_whole
    y, x = torch.meshgrid(torch.arange(20), torch.arange(28), indexing="ij")
    cells = torch.stack([x, y], dim=-1)
    torch.testing.assert_close(lazy.descriptors(cells).permute(2, 0, 1), whole, atol=1e-5, rtol=1e-5)
    dense = DenseMap(whole, 1)
    torch.testing.assert_close(gather(lazy, cells), gather(dense, cells), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lazy.flat(), dense.flat(), atol=1e-5, rtol=1e-5)


def test_outside_is_the_nearest_inside(lazy_and_whole: tuple[SubcellMap, torch.Tensor]) -> None:
    lazy, whole = lazy_and_whole
    cells = torch.tensor([[-3, 5], [40, 40]])
    inside = torch.tensor([[0, 5], [27, 19]])
    for feature_map in (lazy, DenseMap(whole, 1)):
        torch.testing.assert_close(gather(feature_map, cells), gather(feature_map, inside))


@pytest.mark.parametrize("kept_cells", [0, 10**6])
def test_no_cells_have_no_descriptors(
    lazy_and_whole: tuple[SubcellMap, torch.Tensor], kept_cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "KEPT_CELLS", kept_cells)
    lazy, whole = lazy_and_whole
    none = torch.zeros((0, 9, 2), dtype=torch.int64)
    for feature_map in (lazy, DenseMap(whole, 1), UnitMap(DenseMap(whole, 1))):
        assert gather(feature_map, none).shape == (0, 9, len(whole))


@pytest.mark.parametrize("kind", [CompactNetwork, SmallNetwork])
@pytest.mark.parametrize(
    ("size", "cells", "number"),
    # Of 48 rows of 32 cells: strips of 2 and of 20 rows, the last of them of 8; and so on.
    [((96, 64), 0, 24), ((96, 64), 640, 3), ((264, 40), 640, 5), ((128, 48), 2**20, 1)],
)
def test_large_maps_are_the_same_strip_by_strip(
    kind: type[CompactNetwork],
    size: tuple[int, int],
    cells: int,
    number: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = kind().eval().requires_grad_(False)
        image = torch.randn(1, 1, *size)
    for _ in range(2):  # with batch norm, and folded
        with torch.inference_mode():
            whole, coarse = network(image), network.coarse(image)
            monkeypatch.setattr(compact, "_WHOLE_CELLS", {"cpu": 0})
            monkeypatch.setattr(compact, "_STRIP_CELLS", {"cpu": cells})
            strips = network(image)
            assert len(compact._strips(image)) == number
            torch.testing.assert_close(network.coarse(image), coarse, atol=1e-5, rtol=1e-5)
            monkeypatch.undo()
        for one, other in zip(whole, strips, strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
        network = network.fused()


def test_the_coarse_part_costs_less_than_two_gmac() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network = build_backbone("GCM_COMPACT").network  # type: ignore[union-attr]
    image = torch.empty(1, 3, 480, 640, device="meta")
    with FlopCounterMode(display=False) as counter:
        network.coarse(image)  # type: ignore[operator]
    assert counter.get_total_flops() / 2 < 2e9


def test_a_unit_map_gives_what_normalising_the_gathered_gives() -> None:
    feature_map = DenseMap(torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(1)), 4)
    unit = UnitMap(feature_map)
    cells = torch.tensor([[[0, 0], [8, 6]], [[-3, 2], [20, 9]]])  # some outside
    assert torch.equal(gather(unit, cells), gather(feature_map, cells))
    assert unit.shape == (5, 7, 9)
    assert unit.nbytes == 4 * 5 * 7 * 9
    assert torch.equal(unit.flat(), feature_map.flat())
    assert unit.stride == feature_map.stride == 4
    assert isinstance(feature_map.prepared(), UnitMap)
    assert unit.prepared() is unit


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_the_half_pixel_rule_and_its_twin(stride: int) -> None:
    cells = np.random.default_rng(0).integers(0, 100, (20, 2))
    points = cells_to_points(torch.from_numpy(cells).double(), stride)
    np.testing.assert_array_equal(points.numpy(), cell_to_pixel(cells, stride))
    np.testing.assert_array_equal(
        points_to_cells(points, stride).numpy(), pixel_to_cell(points.numpy(), stride)
    )
    np.testing.assert_allclose(points_to_cells(points, stride).numpy(), cells)


def test_a_batch_of_large_images_is_that_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        network = CompactNetwork().eval().fused()
        images = torch.randn(3, 1, 64, 72)
    monkeypatch.setattr(compact, "_WHOLE_CELLS", {"cpu": 0})
    monkeypatch.setattr(compact, "_STRIP_CELLS", {"cpu": 360})
    with torch.inference_mode():
        together = network(images)
        for k in range(3):
            for one, batch in zip(network(images[k : k + 1]), together, strict=True):
                assert torch.equal(one[0], batch[k])
