"""Negatives of the same video: which tracks are far from one another, and what a batch and a loss make of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from storage.root import Root
from tasks.far_away import FAR_SIDES, Paths, far_away
from tasks.train.config import TrainConfig
from tasks.train.data import iterate_batches
from tasks.train.negatives import allowed_images
from tasks.train.objectives import infonce, ranking
from tasks.train.pairs import load_pairs
from tests.tasks.train.conftest import MakeTriplets

# Video, first frame, number of frames, (x, y) of the anchor's and of the positive's centre, and their sides.
Track = tuple[int, int, int, tuple[float, ...], tuple[float, ...]]
_places, _sides = (st.tuples(*[st.floats(*bounds)] * number) for bounds, number in (((0, 300), 4), ((5, 60), 2)))
_tracks = st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(1, 30), _places, _sides)


@settings(deadline=None)
@given(st.lists(_tracks, min_size=1, max_size=8))
def test_far_away_is_that_of_a_slow_reference(tracks: list[Track]) -> None:
    paths = paths_of(tracks)
    found = far_away(paths)
    assert np.array_equal(found, found.T)
    for one in range(len(tracks)):
        for other in range(len(tracks)):
            margin = slow_margin(paths, one, other)
            if margin is None:
                assert not found[one, other]
            elif abs(margin) > 0.5:  # px: the reference looks at so many moments only
                assert found[one, other] == (margin > 0), (one, other, margin)


def test_what_comes_back_later_is_never_far_away() -> None:
    """However far in the picture and in time: it may be the same thing."""
    here, there, sides = (10.0, 10.0, 10.0, 10.0), (900.0, 900.0, 900.0, 900.0), (20.0, 20.0)
    first = (0, 0, 30, here, sides)
    assert not far_away(paths_of([first, (0, 31, 30, there, sides)])).any()
    assert far_away(paths_of([first, (0, 30, 30, there, sides)])).tolist() == [[False, True], [True, False]]
    assert not far_away(paths_of([first, (1, 30, 30, there, sides)])).any(), "another video is not asked about"


def test_tracks_that_cross_are_near() -> None:
    crossing = [(0, 0, 30, (0.0, 0.0, 300.0, 0.0), (20.0, 20.0)), (0, 0, 30, (300.0, 0.0, 0.0, 0.0), (20.0, 20.0))]
    assert not far_away(paths_of(crossing)).any()


def test_both_images_of_a_far_pair_are_allowed() -> None:
    far = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    groups = torch.tensor([4, 4, 7])
    expected = torch.tensor([[0, 1, 1, 0, 1, 1], [1, 0, 1, 1, 0, 1], [1, 1, 0, 1, 1, 0]], dtype=torch.bool)
    assert torch.equal(allowed_images(groups, far), expected)
    assert torch.equal(allowed_images(groups, None), expected & (groups[:, None] != groups.repeat(2)[None]))


@pytest.mark.parametrize("objective", [ranking, infonce])
def test_a_far_image_pushes_as_one_of_another_video(objective: object) -> None:
    """Gradients with two far tracks of one video are those of the same tracks in two videos."""
    generator = torch.Generator().manual_seed(0)
    raw = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    far = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    masks = [allowed_images(torch.tensor([0, 0, 1]), far), allowed_images(torch.tensor([0, 2, 1]), None)]
    gradients = []
    for allowed in (*masks, allowed_images(torch.tensor([0, 0, 1]), None)):
        embeddings = torch.nn.functional.normalize(raw, dim=1).requires_grad_()
        objective.compute_loss(embeddings, allowed, TrainConfig(margin=2.0), 3, 0).loss.backward()  # type: ignore[attr-defined]
        assert embeddings.grad is not None
        gradients.append(embeddings.grad)
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])


def test_batches_hold_far_pairs_of_one_video_for_every_rank(
    root: Root, make_triplets: MakeTriplets, small_config: TrainConfig, tmp_path: Path
) -> None:
    """In these shards pair k of a video lies 100 k px to the right of the first, all at once."""
    triplets = make_triplets(("a", "b", "b"), pairs=8, apart_px=100.0)
    table = load_pairs(root, triplets, tmp_path, negatives="far_away")
    assert table.paths is not None
    assert sorted(np.bincount(table.paths.videos)) == [8, 8, 8]
    assert table.paths.boxes[3].tolist() == [[316.0, 16.0, 32.0], [324.0, 24.0, 32.0]]
    whole, *parts = (
        next(iterate_batches(table, small_config, 7, cursor=0, steps=1, rank=rank, ranks=ranks))
        for rank, ranks in ((0, 1), (0, 3), (1, 3), (2, 3))
    )
    assert whole.far_away is not None
    videos, groups = table.paths.videos[whole.pairs], whole.groups
    same = (videos[:, None] == videos) & ~np.eye(len(videos), dtype=bool)
    assert np.array_equal(whole.far_away, same), "copies (of one group, another video) are never far away"
    assert ((groups[:, None] == groups) & ~same).any()
    assert same.sum() >= 2 * len(videos), "runs of four of one video"
    for part in parts:
        assert part.far_away is not None
        assert np.array_equal(part.far_away, whole.far_away)
    assert load_pairs(root, triplets, tmp_path).paths is None


def test_errors_are_asked_for_by_their_share_and_show_another_place_of_the_same_video(
    root: Root, make_triplets: MakeTriplets, tmp_path: Path
) -> None:
    triplets = make_triplets(tuple("abcdefgh"), pairs=40, apart_px=100.0)
    right = load_pairs(root, triplets, tmp_path)
    assert np.array_equal(right.positives, np.arange(320))
    assert right.counts == {"pairs": 320}
    wrong = load_pairs(root, triplets, tmp_path, wrong_pairs=0.25, seed=3)
    strayed = np.flatnonzero(wrong.positives != np.arange(320))
    assert 0.18 < len(strayed) / 320 < 0.32
    assert wrong.counts == {"pairs": 320, "wrong_pairs": len(strayed)}
    partners = wrong.positives[strayed]
    assert np.array_equal(wrong.groups[partners], wrong.groups[strayed])
    assert np.array_equal(wrong.shards[partners], wrong.shards[strayed])
    assert len(set(partners.tolist())) > len(strayed) / 2, "not one partner for all"
    assert wrong.read(int(strayed[0])) == (right.read(int(strayed[0]))[0], right.read(int(partners[0]))[1])
    assert np.array_equal(wrong.layout.starts, right.layout.starts), "the order of the pairs is the same"
    assert wrong.paths is None, "negatives are of other videos still"
    assert np.array_equal(load_pairs(root, triplets, tmp_path, wrong_pairs=0.25, seed=3).positives, wrong.positives)
    assert not np.array_equal(load_pairs(root, triplets, tmp_path, wrong_pairs=0.25, seed=4).positives, wrong.positives)
    together = load_pairs(root, make_triplets(tuple("abc"), pairs=9), tmp_path, wrong_pairs=1.0)
    assert together.counts == {"pairs": 27}, "where nothing was far away no error can be told from a right pair"


def paths_of(tracks: list[Track]) -> Paths:
    places = [[(*place[:2], sides[0]), (*place[2:], sides[1])] for *_, place, sides in tracks]
    return Paths(
        np.array([video for video, *_ in tracks], np.int32),
        np.array([(begin, begin + frames) for _, begin, frames, *_ in tracks], np.int32),
        np.array(places, np.float32),
    )


def slow_margin(paths: Paths, one: int, other: int) -> float | None:
    """By how many px two tracks of one video are farther than need be, at their nearest; None where they never meet."""
    begin, end = paths.frames[[one, other], 0].max(), paths.frames[[one, other], 1].min()
    if one == other or paths.videos[one] != paths.videos[other] or begin > end:
        return None
    times = np.linspace(begin, end, 2001)
    first, second = (_centres(paths, pair, times) for pair in (one, other))
    distance = float(np.hypot(*(first - second).T).min())
    return distance - FAR_SIDES * float(max(paths.boxes[one, :, 2].max(), paths.boxes[other, :, 2].max()))


def _centres(paths: Paths, pair: int, times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.interp(times, paths.frames[pair], paths.boxes[pair, :, axis]) for axis in (0, 1)], axis=1)
