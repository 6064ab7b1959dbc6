"""Proposals: windows that fit what moves, and the paper's window slid to the place with most moving points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.track.boxes import box_iou, square
from tasks.track.camera import FrameMotion
from tasks.track.proposals import Proposal, propose_windows

FRAME = (320, 240)


def still_points(num: int = 300) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, FRAME, (num, 2))


def thing(centre: tuple[float, float], radius: float, num: int = 60) -> np.ndarray:
    """Points spread evenly over a disc: (num, 2)."""
    turn, out = np.arange(num) * 2.39996, radius * np.sqrt((np.arange(num) + 0.5) / num)
    return np.array(centre) + np.stack([out * np.cos(turn), out * np.sin(turn)], axis=1)


def propose(
    still: np.ndarray,
    things: list[np.ndarray],
    sides: tuple[int, ...] = (72,),
    max_windows: int = 5,
    centred: bool = True,
    ways: tuple[tuple[float, float], ...] = ((3.0, 0.0),),
) -> list[Proposal]:
    """Windows on still points and things; the things go their ways in turn."""
    points = np.concatenate([still, *things]).astype(np.float32)
    moves = [np.full((len(one), 2), ways[number % len(ways)]) for number, one in enumerate(things)]
    residual = np.concatenate([np.zeros_like(still), *moves]).astype(np.float32)
    moving = np.arange(len(points)) >= len(still)
    return propose_windows(FrameMotion(points, residual, np.eye(3)), moving, FRAME, sides, max_windows, centred)


def test_windows_lie_on_what_moves_best_first_and_hardly_overlap() -> None:
    things = [thing((80, 60), 18, 40), thing((240, 170), 18, 60)]
    found = propose(still_points(), things)
    assert [proposal.num_alike for proposal in found] == [60, 40]
    assert np.allclose([proposal.box.centre for proposal in found], [(240, 170), (80, 60)], atol=4)
    assert all(proposal.box.width == proposal.box.height == 72 for proposal in found)
    assert all(0.5 < proposal.moving_share < 1 for proposal in found)
    for proposal in found:  # all of its points go one way
        assert proposal.fit == pytest.approx(proposal.num_alike * proposal.moving_share)
    assert len(propose(still_points(), things, max_windows=1)) == 1
    assert propose(still_points(), []) == []


@pytest.mark.parametrize(("radius", "fitting"), [(14, 36), (30, 64), (56, 120)])
def test_the_size_that_fits_what_moves_wins(radius: float, fitting: int) -> None:
    (found,) = propose(still_points(1200), [thing((160, 120), radius, 100)], (36, 64, 120), max_windows=1)
    assert found.box.width == fitting
    assert np.allclose(found.box.centre, (160, 120), atol=5)


def test_each_thing_gets_a_window_of_its_own_size() -> None:
    things = [thing((60, 60), 14, 60), thing((220, 130), 50, 150)]
    found = propose(still_points(1200), things, (36, 120))
    assert {proposal.box.width: proposal.box.centre[0] > 150 for proposal in found[:2]} == {120: True, 36: False}


def test_a_window_between_two_things_settles_on_one() -> None:
    things = [thing((100, 100), 10, 40), thing((150, 100), 10, 25)]
    first = propose(still_points(0), things, ways=((4, 0), (-4, 0)))[0]
    assert np.allclose(first.box.centre, (100, 100), atol=5)
    assert first.num_alike <= 40, "the other thing's points do not count"


def test_points_that_go_every_way_get_no_window_but_from_the_paper() -> None:
    rng = np.random.default_rng(2)
    points = thing((160, 120), 20, 24).astype(np.float32)
    turn = rng.uniform(0, 2 * np.pi, 24)
    residual = 9 * np.stack([np.cos(turn), np.sin(turn)], axis=1).astype(np.float32)
    motion, moving = FrameMotion(points, residual, np.eye(3)), np.ones(24, bool)
    assert propose_windows(motion, moving, FRAME, (72,), 1) == []
    assert len(propose_windows(motion, moving, FRAME, (72,), 1, centred=False)) == 1


def slid(points: np.ndarray, side: int) -> int:
    """The most points in a window of whole cells of 4 px, tried at every cell."""
    cells = points // 4
    span, best = side // 4, 0
    for column in range(FRAME[0] // 4 - span + 1):
        for row in range(FRAME[1] // 4 - span + 1):
            low = np.array([column, row])
            best = max(best, int(((cells >= low) & (cells < low + span)).all(axis=1).sum()))
    return best


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([40, 72]))
def test_the_papers_window_holds_the_most_moving_points_of_all_places(seed: int, side: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(rng.uniform(60, 180, 2), 40, (80, 2))
    points = points[((points >= 0) & (points < FRAME)).all(axis=1)].astype(np.float32)
    motion = FrameMotion(points, np.ones_like(points), np.eye(3))
    found = propose_windows(motion, np.ones(len(points), bool), FRAME, (side,), 1, centred=False)
    best = slid(points, side)
    assert not found if best < 8 else (found[0].num_alike >= best and found[0].box.x % 4 == found[0].box.y % 4 == 0)


def test_the_papers_window_is_not_drawn_to_what_moves() -> None:
    # Among equal places the first in reading order: the small thing lies in the window's lower right corner.
    (plain,) = propose(still_points(0), [thing((160, 120), 8, 30)], centred=False)
    assert plain.box.x + 72 < 180
    assert plain.box.y + 72 < 140
    (centred,) = propose(still_points(0), [thing((160, 120), 8, 30)])
    assert np.allclose(centred.box.centre, (160, 120), atol=1)


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=25, deadline=None)
def test_windows_are_inside_apart_and_hold_enough(seed: int, centred: bool) -> None:
    rng = np.random.default_rng(seed)
    points = np.clip(rng.normal((160, 120), 90, (250, 2)), 0, np.array(FRAME) - 1).astype(np.float32)
    residual, moving = rng.normal((2, 0), 0.4, (250, 2)).astype(np.float32), rng.random(250) < 0.6
    motion = FrameMotion(points, residual, np.eye(3))
    found = propose_windows(motion, moving, FRAME, (48, 72, 108), 5, centred)
    assert len(found) <= 5
    for number, proposal in enumerate(found):
        box = proposal.box
        assert 0 <= box.x <= FRAME[0] - box.width
        assert 0 <= box.y <= FRAME[1] - box.height
        assert box.width in (48, 72, 108)
        assert proposal.num_alike >= 8
        assert 0 < proposal.moving_share <= 1
        assert all(box_iou(box, other.box) <= 0.3 for other in found[:number])
    assert found == propose_windows(motion, moving, FRAME, (48, 72, 108), 5, centred)


@pytest.mark.parametrize("centred", [True, False])
def test_windows_stay_inside_small_frames_and_need_enough_points(centred: bool) -> None:
    points = np.array([[x, y] for x in range(0, 40, 8) for y in range(0, 30, 8)], np.float32)
    motion = FrameMotion(points, np.ones_like(points), np.eye(3))
    (found,) = propose_windows(motion, np.ones(len(points), bool), (40, 30), (72, 108), 1, centred)
    assert found.box == square(found.box.x, 0, 30)
    assert 0 <= found.box.x <= 10
    assert propose_windows(motion, np.arange(len(points)) < 7, (40, 30), (72,), 1, centred) == []
