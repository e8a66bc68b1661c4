"""Model cards, recipes and logs of the embedded weights say the same."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import pytest

from gcm.distillation.recipe import DistillRecipe, load_recipe

ROOT = Path(__file__).resolve().parents[2]
EMBEDDED = ROOT / "gcm" / "weights" / "embedded"
CARDS = [
    ("gcm_compact", "compact"),
    ("gcm_small", "small"),
    ("gcm_context", "context"),
    ("gcm_attention", "attention"),
    ("gcm_patch", "disk_patch"),
]


def card_of(weights: str) -> str:
    """The part of the cards that is about one file, on one line."""
    cards = re.split(r"^# Model card: ", (EMBEDDED / "README.md").read_text(), flags=re.MULTILINE)
    return " ".join(next(card for card in cards if card.startswith(f"`{weights}.safetensors`")).split())


def log_of(recipe: str) -> list[dict[str, float]]:
    with (ROOT / "benchmarks" / "distill" / f"{recipe}.csv").open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def recipe_of(name: str) -> DistillRecipe:
    return load_recipe(ROOT / "configs" / "distill" / f"{name}.yml")


def numbers(pattern: str, text: str) -> list[float]:
    match = re.search(pattern, text)
    assert match, f"the card does not say '{pattern}'"
    return [float(number) for number in match.groups()]


@pytest.mark.parametrize(("weights", "name"), CARDS)
def test_card_and_recipe(weights: str, name: str) -> None:
    card, recipe = card_of(weights), recipe_of(name)
    assert f"configs/distill/{name}.yml" in card
    assert numbers(r"(\d+) steps of (\d+) (?:photos|crops)", card) == [recipe.steps, recipe.batch_size]
    assert numbers(r"(\d+) pixels(?: each)?, Adam", card) == [recipe.augmentation.crop]
    rates = [recipe.learning_rate, recipe.final_learning_rate]
    assert numbers(r"learning rate (\S+) falling to (\S+) along", card) == rates
    assert numbers(r"(\d+) % held out", card) == [100 * recipe.held_out]
    assert (recipe.precision == "bfloat16") == ("bfloat16 autocast" in card)


@pytest.mark.parametrize(("weights", "name"), CARDS)
def test_card_and_log(weights: str, name: str) -> None:
    card, log = card_of(weights), log_of(name)
    assert f"benchmarks/distill/{name}.csv" in card
    assert numbers(r"cores[^,]*, (\d+) s;", card)[0] == pytest.approx(log[-1]["seconds"], abs=5)
    told = re.findall(r"(\d\.\d+) after (\d+)", card)
    assert len(told) >= 3
    losses = {row["step"]: row["validation_loss"] for row in log}
    for loss, step in told:
        decimals = len(loss.partition(".")[2])
        assert float(loss) == pytest.approx(losses[float(step)], abs=0.51 * 10**-decimals), step


@pytest.mark.parametrize("name", [*(name for _, name in CARDS), "slim"])
def test_the_log_is_of_a_run_of_the_recipe(name: str) -> None:
    """Length and learning rates of the log follow from the recipe; nobody can tell the batch from it."""
    recipe, log = recipe_of(name), log_of(name)
    steps = [*range(recipe.validate_every, recipe.steps, recipe.validate_every), recipe.steps]
    assert [row["step"] for row in log] == steps
    for row in log:
        if row["step"] <= recipe.warmup_steps:
            assert row["learning_rate"] == pytest.approx(
                recipe.learning_rate * row["step"] / recipe.warmup_steps, rel=1e-3
            )
            continue
        share = (row["step"] - 1 - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps)
        fall = 0.5 * (1 + math.cos(math.pi * share))
        rate = recipe.final_learning_rate + (recipe.learning_rate - recipe.final_learning_rate) * fall
        assert row["learning_rate"] == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("weights", [weights for weights, _ in CARDS])
def test_sizes(weights: str) -> None:
    size = (EMBEDDED / f"{weights}.safetensors").stat().st_size
    assert numbers(r"(\d+\.\d) MB", card_of(weights))[0] == pytest.approx(size / 1e6, abs=0.05)
