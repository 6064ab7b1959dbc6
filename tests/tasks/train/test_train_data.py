"""Order, pairs, augmentation and batches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit
from storage.root import Root, RootError
from storage.tables import table_bytes
from tasks.records import TRIPLET_SCHEMA, Dropped
from tasks.train.augment import NUM_DRAWS, augment_draws, change_colours, decode_patch
from tasks.train.config import TrainConfig
from tasks.train.data import batch_pairs, iterate_batches, read_batch
from tasks.train.order import rank_slice
from tasks.train.pairs import load_pairs
from tasks.train.randomness import hashed, uniforms
from tests.tasks.train.conftest import MakeTriplets


def test_random_numbers_are_fixed_and_even() -> None:
    # SplitMix64 of seed 0 starts with this number (the reference implementation's own test vector).
    assert _splitmix_reference(0) == 0xE220A8397B1DCDAF
    assert int(hashed(0)[0]) == _splitmix_reference(_splitmix_reference(0x9E3779B97F4A7C15))
    drawn = uniforms(1, 2, np.arange(100_000))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.histogram(drawn, bins=20, range=(0, 1))[0]
    assert ((counts - 5000) ** 2 / 5000).sum() < 43.8  # chi-squared, 19 degrees of freedom, p = 0.001


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_share_one_global_batch(
    ranks: int, root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    table = load_pairs(root, make_triplets(("a", "b", "c")), tmp_path)
    for cursor in (0, 8, 104):  # 104 lies near an epoch's end
        whole = read_batch(table, small_config, 7, cursor, 0, 1)
        parts = [read_batch(table, small_config, 7, cursor, rank, ranks) for rank in range(ranks)]
        for view in (0, 1):
            images = [part.images.reshape(2, -1, 32, 32, 3)[view] for part in parts]
            draws = [part.draws.reshape(2, -1, NUM_DRAWS)[view] for part in parts]
            assert np.array_equal(np.concatenate(images), whole.images.reshape(2, -1, 32, 32, 3)[view])
            assert np.array_equal(np.concatenate(draws), whole.draws.reshape(2, -1, NUM_DRAWS)[view])
        for part in parts:
            assert np.array_equal(part.pairs, whole.pairs)
            assert np.array_equal(part.groups, table.groups[whole.pairs])
    assert [rank_slice(7, rank, 3) for rank in range(3)] == [slice(0, 2), slice(2, 4), slice(4, 7)]


def test_batches_go_on_from_a_cursor(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    table = load_pairs(root, make_triplets(("a", "b")), tmp_path)
    whole = list(iterate_batches(table, small_config, 1, cursor=0, steps=6, rank=0, ranks=1))
    rest = list(iterate_batches(table, small_config, 1, cursor=32, steps=2, rank=0, ranks=1))
    assert len(whole) == 6
    for one, other in zip(whole[4:], rest, strict=True):
        assert np.array_equal(one.images, other.images)
        assert np.array_equal(one.pairs, other.pairs)
    assert [batch.epoch for batch in rest] == pytest.approx([4.0, 4.8])
    assert not np.array_equal(whole[0].images, whole[5].images)


def test_data_set_smaller_than_a_batch(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    table = load_pairs(root, make_triplets(("a", "b"), pairs=2), tmp_path)
    assert batch_pairs(small_config, table) == 4
    first, second = iterate_batches(table, small_config, 1, cursor=0, steps=2, rank=0, ranks=1)
    assert sorted(first.pairs) == sorted(second.pairs) == [0, 1, 2, 3]


def test_pairs_hold_the_training_split_alone(root: Root, make_triplets: MakeTriplets, tmp_path: Path) -> None:
    table = load_pairs(root, make_triplets(("a", "held_out", "b", "a")), tmp_path)
    assert len(table) == 15
    assert len(table.readers.files) == 3
    assert sorted(np.bincount(table.groups)) == [5, 10]
    assert set(table.margins) == {1.25}
    for jpeg in table.read(3):
        assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (40, 40, 3)
    table.close()


@pytest.mark.parametrize(
    ("groups", "reason"), [(("a",), "one_video"), (("a", "a", "held_out"), "one_video"), (("held_out",), "no_pairs")]
)
def test_data_without_negatives_is_dropped(
    groups: tuple[str, ...], reason: str, root: Root, make_triplets: MakeTriplets, tmp_path: Path
) -> None:
    with pytest.raises(Dropped) as caught:
        load_pairs(root, make_triplets(groups), tmp_path)
    assert caught.value.reason == reason


def test_empty_or_missing_index_is_named(root: Root, tmp_path: Path) -> None:
    empty = KeyDocument(Recipe("shard", 1))
    commit(root, empty, {"triplets.parquet": table_bytes([], TRIPLET_SCHEMA)})
    with pytest.raises(Dropped, match="no_pairs"):
        load_pairs(root, empty.key, tmp_path)
    with pytest.raises(RootError, match="run the shard stage first"):
        load_pairs(root, "f" * 64, tmp_path)


def test_mirror_takes_the_tracked_box() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".png", image[..., ::-1])[1].tobytes()  # lossless, so that bytes can be compared
    kept, mirrored = np.full(NUM_DRAWS, 0.9), np.full(NUM_DRAWS, 0.1)
    box = image[4:36, 4:36]
    assert np.array_equal(decode_patch(jpeg, kept, "mirror", 0.6, 1.25, 32), box)
    assert np.array_equal(decode_patch(jpeg, mirrored, "mirror", 0.6, 1.25, 32), box[:, ::-1])


def test_crops_stay_inside_and_move() -> None:
    rows = np.repeat(np.arange(40, dtype=np.uint8)[:, None], 40, axis=1)
    jpeg = cv2.imencode(".png", np.stack([rows.T, rows, rows], axis=2)[..., ::-1])[1].tobytes()
    draws = augment_draws(0, np.zeros(200), np.arange(200), 0)
    crops = np.stack([decode_patch(jpeg, row, "crop", 0.6, 1.25, 16) for row in draws])
    heights = crops[:, -1, 0, 1].astype(int) - crops[:, 0, 0, 1]
    assert 40 * 0.6 * 14 / 16 - 2 < heights.min() < heights.max() <= 39
    assert len({(int(crop[0, 0, 1]), int(crop[0].min())) for crop in crops}) > 50


def test_half_of_the_images_are_blurred_and_the_others_left() -> None:
    image = np.random.default_rng(3).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    jpeg = cv2.imencode(".png", image)[1].tobytes()
    draws = augment_draws(0, np.zeros(60), np.arange(60), 0)
    blurred = 0
    for row in draws:
        plain, changed = (decode_patch(jpeg, row, augment, 1.0, 1.0, 224) for augment in ("colour", "blur"))
        if row[11] < 0.5:
            blurred += 1
            # White noise under a Gaussian of sigma s keeps 1 / (4 pi s^2) of its variance, where s is well over 0.5.
            sigma = 0.1 + 1.9 * row[12]
            if sigma > 0.8:
                assert changed.var() / plain.var() == pytest.approx(1 / (4 * np.pi * sigma**2), rel=0.25)
        else:
            assert np.array_equal(plain, changed)
    assert 20 <= blurred <= 40


def test_undecodable_patch_is_an_error() -> None:
    with pytest.raises(ValueError, match="no JPEG image"):
        decode_patch(b"not an image", np.zeros(NUM_DRAWS), "mirror", 0.6, 1.0, 32)


def test_colours_change_as_pixel_arithmetic_says() -> None:
    """Against the operations one after the other, in numpy."""
    pixels = np.random.default_rng(2).uniform(60, 180, (6, 3, 4, 5))
    draws = augment_draws(1, np.zeros(6), np.arange(6), 1)
    draws[0, 10] = 0.0  # grey
    changed = change_colours(torch.from_numpy(pixels), draws, "colour").numpy()
    for image, row, got in zip(pixels, draws, changed, strict=True):
        brightness, contrast, saturation = (0.4 * (2 * value - 1) for value in row[4:7])
        grey = np.tensordot([0.299, 0.587, 0.114], image, axes=1)[None]
        factor = 0.0 if row[10] < 0.2 else 1 + saturation
        expected = factor * image + (1 - factor) * grey
        expected = expected * (1 + 0.2 * (2 * row[7:10] - 1))[:, None, None]
        expected = (expected - 127.5) * (1 + contrast) + 127.5 + brightness * 127.5
        np.testing.assert_allclose(got, expected.clip(0, 255), atol=1e-9)
    for name in ("mirror", "crop"):
        assert torch.equal(change_colours(torch.from_numpy(pixels), draws, name), torch.from_numpy(pixels))  # type: ignore[arg-type]


def _splitmix_reference(state: int) -> int:
    """Steele, Lea and Flood's algorithm in plain integers."""
    mask = (1 << 64) - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
    return state ^ (state >> 31)
