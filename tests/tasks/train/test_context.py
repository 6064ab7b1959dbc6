"""The context objective: where its patches lie, what they show, and its loss against a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.networks.building import build_network
from tasks.train.config import TrainConfig
from tasks.train.negatives import other_groups
from tasks.train.objectives.building import build_objective
from tasks.train.objectives.context import DIRECTIONS, Context, cut_patches, draw_layout
from tasks.train.objectives.objective import Inputs


@settings(deadline=None)
@given(st.integers(32, 512), st.integers(0, 999), st.integers(0, 10**6))
def test_patches_lie_in_the_image_apart_and_as_labelled(side_px: int, seed: int, step: int) -> None:
    layout = draw_layout(np.arange(40), side_px, seed=seed, step=step)
    assert layout.corners.min() >= 0
    assert layout.corners.max() + layout.patch_px <= side_px
    moved = layout.corners[1] - layout.corners[0]
    gap, jitter = layout.patch_px // 2, layout.patch_px * 7 // 96
    expected = DIRECTIONS[layout.labels] * (layout.patch_px + gap)
    assert np.abs(moved - expected).max() <= 2 * jitter
    assert np.abs(moved).max(axis=1).min() > layout.patch_px, "no pixel is in both"


def test_layout_is_a_pure_function_of_seed_step_and_image() -> None:
    images = np.array([3, 9, 4])
    whole, part = draw_layout(np.arange(12), 64, seed=1, step=2), draw_layout(images, 64, seed=1, step=2)
    assert np.array_equal(whole.labels[images], part.labels)
    assert np.array_equal(whole.corners[:, images], part.corners)
    for seed, step in ((1, 3), (2, 2)):
        assert not np.array_equal(draw_layout(np.arange(12), 64, seed=seed, step=step).labels, whole.labels)


def test_every_place_is_drawn_as_often() -> None:
    layout = draw_layout(np.arange(8000), 96, seed=0, step=0)
    assert np.bincount(layout.labels).tolist() == pytest.approx([1000] * 8, abs=120)
    shifts = layout.corners[1] - layout.corners[0] - DIRECTIONS[layout.labels] * (layout.patch_px * 3 // 2)
    assert set(np.unique(shifts)) == set(range(-4, 5)), "36 px patches move by 2 px each"


@pytest.mark.parametrize("side_px", [64, 160])
def test_patches_equal_slow_ones(side_px: int) -> None:
    """Sliced one by one, projected by B = I - a'a / aa', a = (-1, 2, -1), and enlarged to 40 px where smaller."""
    images = torch.randn(5, 3, side_px, side_px, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    layout = draw_layout(np.arange(5), side_px, seed=0, step=0)
    patches = cut_patches(images, layout)
    axis = np.array([[-1.0, 2.0, -1.0]])
    projection = np.eye(3) - axis.T @ axis / (axis @ axis.T)
    for view in (0, 1):
        for number in range(5):
            top, left = layout.corners[view, number]
            cut = images[number, :, top : top + layout.patch_px, left : left + layout.patch_px].numpy()
            expected = _enlarged(np.einsum("ij,jyx->iyx", projection, cut), 40)
            assert np.allclose(patches[view * 5 + number].numpy(), expected, atol=1e-12)


def test_colours_between_green_and_magenta_are_gone() -> None:
    images = torch.tensor([-1.0, 2.0, -1.0]).view(1, 3, 1, 1).expand(2, 3, 64, 64)
    assert cut_patches(images, draw_layout(np.arange(2), 64, seed=0, step=0)).abs().max() < 1e-6


@pytest.mark.usefixtures("alone")
def test_context_loss_equals_the_slow_reference() -> None:
    network, inputs = build_network("small", 16, 1).double(), _inputs(3)
    objective = build_objective(TrainConfig(objective="context"), network, 4).double()
    assert isinstance(objective, Context)
    outcome = objective(network, inputs)
    layout = draw_layout(np.arange(6), 64, seed=4, step=9)
    patches = cut_patches(inputs.images, layout)
    first, bias, second, last = (tensor.detach().numpy() for tensor in objective.parameters())
    losses = []
    with torch.no_grad():
        for number in range(6):
            features = [network.backbone(patches[[place]])[0].numpy() for place in (number, 6 + number)]
            hidden = np.maximum(first @ np.concatenate(features) + bias, 0)
            scores = np.exp(second @ hidden + last)
            losses.append(-np.log(scores[layout.labels[number]] / scores.sum()))
    assert float(outcome.loss.detach()) == pytest.approx(np.mean(losses), abs=1e-10)
    assert float(outcome.collapse_gap) == pytest.approx(max(0, 1 - np.mean(losses) / np.log(8)), abs=1e-10)


def test_context_beside_itself_is_refused() -> None:
    with pytest.raises(ValueError, match=r"train.context_weight: .* set it to 0, or choose another objective"):
        TrainConfig(objective="context", context_weight=0.5)


def _inputs(pairs: int) -> Inputs:
    images = torch.randn(2 * pairs, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Inputs(images, slice(0, pairs), other_groups(torch.arange(pairs)), seed=4, step=9)


def _enlarged(
    patch: np.ndarray[tuple[int, ...], np.dtype[np.float64]], smallest: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Bilinear, by the centres of pixels: (3, P, P) to (3, `smallest`, `smallest`) where P is less."""
    side = patch.shape[1]
    if side >= smallest:
        return patch
    places = np.clip((np.arange(smallest) + 0.5) * side / smallest - 0.5, 0, None)
    low = np.minimum(places.astype(int), side - 1)
    high, share = np.minimum(low + 1, side - 1), places - low
    rows = patch[:, low] * (1 - share)[:, None] + patch[:, high] * share[:, None]
    return rows[:, :, low] * (1 - share) + rows[:, :, high] * share
