"""The network with two streams, and the keypoint matcher that stands on one of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gcm.backbones.attention import AttentionMatcher, AttentionNetwork
from gcm.backbones.context import ContextNetwork
from gcm.features.keypoints import detect_keypoints
from gcm.weights.loading import load_checkpoint
from gcm.weights.store import resolve_weights


@pytest.mark.parametrize("size", [(64, 96), (72, 104), (8, 8)])
def test_maps_of_any_size(size: tuple[int, int]) -> None:
    network = ContextNetwork().eval()
    x = torch.randn(2, 3, *size)
    with torch.inference_mode():
        maps, coarse, streams = network(x), network.coarse(x), network.streams(x)
    assert [m.shape[-2:] for m in maps] == [(size[0] // s, size[1] // s) for s in (2, 4, 8)]
    torch.testing.assert_close(maps[-1], coarse)
    torch.testing.assert_close(streams[:, :64].norm(dim=1), torch.ones(2, size[0] // 8, size[1] // 8))


def test_only_the_second_stream_learns() -> None:
    network = ContextNetwork().train()
    assert network.training
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.coarse(torch.randn(2, 3, 32, 32)).square().mean().backward()
    optimizer.step()
    changed = {
        name.split(".")[0]
        for name, tensor in network.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {"context", "mix"}


def test_keypoints_lie_in_the_image_and_apart(photo: np.ndarray) -> None:
    network = AttentionNetwork().eval()
    network.load_state_dict(load_checkpoint(resolve_weights("gcm_attention")))
    x = torch.from_numpy(photo[:117, :155].astype(np.float32).mean(axis=2))[None, None]
    with torch.inference_mode():
        (found,) = detect_keypoints(network, x, 50)
        (brighter,) = detect_keypoints(network, 0.5 * x + 30, 50)
    assert found.size == (155, 117)
    assert 0 < len(found.points) <= 50
    assert (found.points >= 0).all()
    assert (found.points <= torch.tensor([154, 116])).all()
    apart = torch.cdist(found.points, found.points, p=float("inf")) + 99 * torch.eye(len(found.points))
    assert apart.min() >= 3
    torch.testing.assert_close(found.descriptors.norm(dim=1), torch.ones(len(found.points)))
    torch.testing.assert_close(found.points, brighter.points)


def test_an_image_of_one_colour_has_no_keypoint_of_nan() -> None:
    with torch.inference_mode():
        (found,) = detect_keypoints(AttentionNetwork().eval(), torch.full((1, 1, 40, 40), 7.0), 10)
    assert torch.isfinite(found.descriptors).all()


def test_attention_does_not_care_for_the_order_of_keypoints() -> None:
    torch.manual_seed(0)
    matcher = AttentionMatcher().eval()
    points = [torch.rand(1, n, 2) * 2 - 1 for n in (7, 9)]
    descriptors = [F.normalize(torch.randn(1, n, 64), dim=-1) for n in (7, 9)]
    order = torch.randperm(9)
    with torch.inference_mode():
        first, logits0, logits1 = matcher(*points, *descriptors)
        second, _, other1 = matcher(points[0], points[1][:, order], descriptors[0], descriptors[1][:, order])
        swapped, _, _ = matcher(*points[::-1], *descriptors[::-1])
    assert first.shape == (1, 7, 9)
    assert (first < 0).all()
    torch.testing.assert_close(first[:, :, order], second)
    torch.testing.assert_close(logits1[:, order], other1)
    torch.testing.assert_close(swapped.transpose(1, 2), first)
    assert logits0.shape == (1, 7)
