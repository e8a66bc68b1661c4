"""The tensor a network sees: one standardisation, two ways to measure an image."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from gcm.errors import ConfigError
from gcm.images import IMAGENET, MeanDeviation, Normalisation, PerImage
from gcm.images.network_input import measure, network_input, standardise
from gcm.images.normalisation import NORMALISATIONS

HALVES = MeanDeviation((0.5, 0.5, 0.5), (0.5, 0.25, 0.5))


def test_normalisation() -> None:
    white = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
    expected = [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(standardise(white, IMAGENET).flatten(), torch.tensor(expected))
    x = network_input(np.full((5, 6, 3), 255, np.uint8), 16)
    torch.testing.assert_close(x[0, :, 4, 5], torch.tensor(expected))
    assert x.dtype == torch.float32
    x = network_input(np.full((5, 6, 3), 255, np.uint8), 16, normalisation=HALVES)
    torch.testing.assert_close(x[0, :, 4, 5], torch.tensor([1.0, 2.0, 1.0]))
    assert not x[..., 5:, :].any()


def test_standardised_input_ignores_exposure_and_tint(photo: np.ndarray) -> None:
    image = torch.from_numpy(photo // 2).permute(2, 0, 1)
    other = image + torch.tensor([3, 40, 90], dtype=torch.uint8).view(3, 1, 1)
    x = standardise(image, PerImage())
    torch.testing.assert_close(standardise(other, PerImage()), x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(standardise(2 * image, PerImage()), x, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(x.mean(dim=(1, 2)), torch.zeros(3), atol=1e-4, rtol=0)
    assert float(x.var(unbiased=False)) == pytest.approx(1, abs=1e-3)
    assert not standardise(torch.full((3, 9, 9), 77, dtype=torch.uint8), PerImage()).any()
    torch.testing.assert_close(standardise(image[:, :50], PerImage(), measure(image)), x[:, :50])


@pytest.mark.parametrize("normalisation", [IMAGENET, HALVES, PerImage(), PerImage(grey=True)], ids=str)
def test_arrays_and_tensors_are_standardised_alike(photo: np.ndarray, normalisation: Normalisation) -> None:
    """The matcher measures arrays, distillation batches of tensors."""
    batch = torch.from_numpy(np.stack([photo, photo // 3])).permute(0, 3, 1, 2)
    expected = torch.cat(
        [network_input(image, 16, normalisation=normalisation) for image in (photo, photo // 3)]
    )
    torch.testing.assert_close(standardise(batch, normalisation), expected, atol=1e-5, rtol=1e-5)


def test_grey_is_the_mean_of_the_standardised_channels(photo: np.ndarray) -> None:
    colour = network_input(photo, 16, normalisation=PerImage())
    grey = network_input(photo, 16, normalisation=PerImage(grey=True))
    assert grey.shape == (1, 1, 240, 320)
    torch.testing.assert_close(grey, colour.mean(dim=1, keepdim=True), atol=1e-5, rtol=1e-5)
    like = photo // 2 + 60
    colour = network_input(photo, 16, normalisation=PerImage(), like=like)
    torch.testing.assert_close(
        network_input(photo, 16, normalisation=PerImage(grey=True), like=like),
        colour.mean(dim=1, keepdim=True),
        atol=1e-5,
        rtol=1e-5,
    )


def test_standardised_grey_keeps_its_bits() -> None:
    """What the embedded weights' results hang on, computed as it always was."""
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8), (125, 90))
    mean, deviation = cv2.meanStdDev(image)
    scale = max(float(np.sqrt(np.mean(deviation**2))), 4.0)
    total = torch.from_numpy(image.sum(axis=2).astype(np.int64)).float()[None, None]
    expected = total.mul_(1 / (3 * scale)).sub_(float(mean.mean()) / scale)
    assert torch.equal(network_input(image, 1, normalisation=PerImage(grey=True)), expected)


def test_does_not_depend_on_the_default_dtype(photo: np.ndarray) -> None:
    expected = [network_input(photo, 16, normalisation=kind) for kind in NORMALISATIONS.values()]
    torch.set_default_dtype(torch.float64)
    try:
        inputs = [network_input(photo, 16, normalisation=kind) for kind in NORMALISATIONS.values()]
    finally:
        torch.set_default_dtype(torch.float32)
    for x, before in zip(inputs, expected, strict=True):
        assert torch.equal(x, before)


def test_a_normalisation_says_what_it_is() -> None:
    assert {str(kind) for kind in NORMALISATIONS.values()} == set(NORMALISATIONS)
    assert set(NORMALISATIONS) == {"imagenet", "standardised", "standardised grey"}
    assert json.dumps(str(HALVES)) == '"mean (0.5, 0.5, 0.5), deviation (0.5, 0.25, 0.5)"'
    assert MeanDeviation(IMAGENET.mean, IMAGENET.deviation) == IMAGENET


@pytest.mark.parametrize(
    ("mean", "deviation"), [((0.5,), (0.5,)), ((0, 0, 0), (1, 0, 1)), ((0, 0, 0), (1, float("nan"), 1))]
)
def test_impossible_normalisations_are_refused(mean: tuple[float, ...], deviation: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="three numbers each"):
        MeanDeviation(mean, deviation)  # type: ignore[arg-type]


def test_the_room_does_not_import_torch() -> None:
    """By its source, since this process has torch: only network_input does, and nothing else imports that."""
    import gcm.images

    folder = Path(gcm.images.__file__).parent
    for path in folder.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        imports_torch = any(line.split()[1].partition(".")[0] == "torch" for line in lines)
        imports_input = any("network_input" in line for line in lines)
        assert imports_torch == (path.name == "network_input.py"), path
        assert not imports_input, path
