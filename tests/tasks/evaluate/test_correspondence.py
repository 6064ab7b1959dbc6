"""Labels carried by dense features, against the whole affinity matrix; and what dense features cover."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tasks.evaluate.correspondence import Follower, carried, cell_labels, mask_of
from tasks.evaluate.dense import dense_colour, dense_hog, dense_pixels, load_dense
from tasks.evaluate.judged import Judged
from tasks.networks.weights import NetworkSpec, untrained_network

SPECS = [NetworkSpec("small", 16, 32, 0), NetworkSpec("resnet18", 16, 64, 0), NetworkSpec("caffenet", 16, 64, 0)]


def _slow(
    target: np.ndarray, sources: np.ndarray, labels: np.ndarray, top_k: int, radius: int, heat: float
) -> np.ndarray:
    """DINO's way: exponentials of all affinities, those out of reach and below the top ones set to 0, then shares."""
    _, height, width = target.shape
    out = np.zeros((labels.shape[0], height, width))
    for y in range(height):
        for x in range(width):
            affinity = np.exp(np.einsum("c,cnhw->nhw", target[:, y, x], sources) / heat)
            rows, columns = np.abs(np.arange(height) - y) > radius, np.abs(np.arange(width) - x) > radius
            affinity[:, rows], affinity[:, :, columns] = 0, 0
            affinity[affinity < np.sort(affinity.ravel())[-top_k]] = 0
            out[:, y, x] = (labels * affinity).sum(axis=(1, 2, 3)) / affinity.sum()
    return out


@pytest.mark.parametrize(("size", "top_k", "radius"), [((5, 7), 3, 2), ((14, 26), 5, 12), ((13, 12), 20, 1)])
def test_tiles_give_what_the_whole_matrix_gives(size: tuple[int, int], top_k: int, radius: int) -> None:
    generator = torch.Generator().manual_seed(1)
    target = torch.nn.functional.normalize(torch.randn(6, *size, generator=generator), dim=0)
    sources = torch.nn.functional.normalize(torch.randn(6, 3, *size, generator=generator), dim=0)
    labels = torch.rand(2, 3, *size, generator=generator)
    found = carried(target, sources, labels, top_k=top_k, radius=radius, temperature=0.1)
    slow = _slow(target.numpy(), sources.numpy(), labels.numpy(), top_k, radius, 0.1)
    if top_k <= 12:  # a corner of radius 1 sees fewer cells than 20, and then takes all of them
        np.testing.assert_allclose(found, slow, atol=1e-4)
    else:
        np.testing.assert_allclose(found[:, 3:-3, 3:-3], slow[:, 3:-3, 3:-3], atol=1e-4)


def test_unique_cells_take_their_labels_along() -> None:
    """Every cell has a feature of its own that moves by one cell a frame, further than the radius in the end."""
    features = torch.eye(64).view(64, 8, 8)
    labels = torch.zeros(2, 8, 8)
    labels[0], labels[:, 2:4, 1:3] = 1, torch.tensor([0.0, 1.0])[:, None, None]
    follower = Follower(features, labels, top_k=1, radius=2, num_frames=2, temperature=0.1)
    for step in range(1, 5):
        found = follower.follow(features.roll(step, dims=2))
        mask = mask_of(found, [7], (8, 8))
        assert set(np.unique(mask)) == {0, 7}
        assert {tuple(place) for place in np.argwhere(mask == 7).tolist()} == {
            (y, x + step) for y in (2, 3) for x in (1, 2)
        }


def test_labels_of_cells_are_shares_and_come_back_as_numbers() -> None:
    mask = np.zeros((16, 24), np.uint8)
    mask[:8, :8], mask[8:, 16:], mask[4:8, 8:16] = 3, 9, 3
    shares = cell_labels(mask, [3, 9], (2, 3))
    assert shares[1].tolist() == [[1, 0.5, 0], [0, 0, 0]]
    assert shares[2].tolist() == [[0, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(shares.sum(dim=0), np.ones((2, 3)))
    back = mask_of(cell_labels(mask, [3, 9], (16, 24)), [3, 9], (16, 24))
    np.testing.assert_array_equal(back, mask)


def test_masks_are_those_of_all_labels_at_once() -> None:
    """As DINO writes it: all labels scaled up and stretched, then the largest; of equals the first."""
    labels = torch.rand(5, 6, 9, generator=torch.Generator().manual_seed(2))
    labels[3], labels[4] = 0, labels[1]  # one that is nowhere, and a tie
    scaled = np.stack([cv2.resize(one, (36, 24), interpolation=cv2.INTER_LINEAR) for one in labels.numpy()])
    low, high = scaled.min(axis=(1, 2), keepdims=True), scaled.max(axis=(1, 2), keepdims=True)
    stretched = np.where(high > 0, (scaled - low) / np.maximum(high - low, 1e-12), scaled)
    expected = np.array([0, 2, 5, 7, 9])[stretched.argmax(axis=0)]
    np.testing.assert_array_equal(mask_of(labels, [2, 5, 7, 9], (24, 36)), expected)
    assert set(np.unique(expected)) == {0, 2, 5}


def test_dense_features_have_a_vector_a_cell() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    assert dense_hog(frame).shape == (8, 12, 39)
    assert dense_pixels(frame).shape == (8, 12, 192)
    colour = dense_colour(frame)
    assert colour.shape == (8, 12, 64)
    np.testing.assert_allclose((colour**2).sum(axis=2), np.ones((8, 12)), rtol=1e-5)
    np.testing.assert_allclose(dense_pixels(frame)[2, 3].reshape(8, 8, 3), frame[16:24, 24:32] / 255 - 0.5, atol=1e-6)
    # A cell's gradients see half a cell to every side, and no more.
    other = frame.copy()
    other[30:34] = 255
    changed = np.abs(dense_hog(other) - dense_hog(frame)).max(axis=2) > 0
    assert changed.any(axis=1).tolist() == [False, False, False, True, True, False, False, False]


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_network_has_a_map_of_stride_8(spec: NetworkSpec) -> None:
    judged = Judged({"trained": untrained_network(spec)}, {"trained": spec})
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    found = load_dense(judged, "", torch.device("cpu"))
    maps = {kind: extract(frame) for kind, extract in found.items()}
    assert set(maps) == {"trained", "hog", "colour", "pixels"}
    assert all(one.shape[1] in (11, 12) for one in maps.values())
    lengths = maps["trained"].norm(dim=0)
    assert lengths.max() == pytest.approx(1, abs=1e-5)
    with pytest.raises(
        ValueError, match=r"evaluate\.propagation_layer: 'conv9' is no map; choose one of conv1"
    ) as caught:
        load_dense(judged, "conv9", torch.device("cpu"))["trained"](frame)
    assert "\n" not in str(caught.value)
