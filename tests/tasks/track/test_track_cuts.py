"""Cuts and steps of light: two shots, a pan, the same picture in another light, and points that are found over it."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.track.config import TrackConfig
from tasks.track.cuts import histogram_distance, is_cut, is_light_step, look_of, with_light_of
from tasks.track.estimators.klt import make_estimator
from tasks.track.motion import PointQuery
from tests.tasks.track.conftest import shifted, textured

THRESHOLD = TrackConfig().cut_threshold


def seen(texture: np.ndarray, x: float = 0) -> np.ndarray:
    return shifted(texture, x, 0, 1, (320, 240))


def relit(grey: np.ndarray, gain: float, shift: float = 0) -> np.ndarray:
    light: np.ndarray = np.clip(np.rint(gain * grey.astype(float) + shift), 0, 255).astype(np.uint8)
    return light


ONE, OTHER = textured(1, 240, 400), 255 * (textured(9, 240, 400) / 255) ** 3


def test_two_shots_are_far_apart_and_a_pan_is_not() -> None:
    first, pan, second = look_of(seen(ONE)), look_of(seen(ONE, -6)), look_of(seen(OTHER))
    assert histogram_distance(first, pan) < 0.1 < THRESHOLD < histogram_distance(first, second)
    assert is_cut(first, second, THRESHOLD)
    assert not is_cut(first, pan, THRESHOLD)
    assert not is_cut(first, first, THRESHOLD)
    assert not is_light_step(first, pan)
    assert not is_light_step(first, second)


def test_no_gate_finds_no_cut() -> None:
    black, white = (look_of(np.full((64, 64), value, np.uint8)) for value in (0, 255))
    assert histogram_distance(black, white) == pytest.approx(1)
    assert is_cut(black, white, 0.99)
    assert not is_cut(black, white, 1)
    assert not is_cut(look_of(seen(ONE)), look_of(seen(OTHER)), 1)


def test_two_shots_of_like_brightness_are_told_by_their_pictures() -> None:
    first, second = look_of(seen(ONE)), look_of(seen(textured(12, 240, 400)))
    distance = histogram_distance(first, second)
    assert is_cut(first, second, 1.5 * distance)
    assert not is_cut(first, second, 2.1 * distance)


@pytest.mark.parametrize(("gain", "shift"), [(0.6, 0), (1.0, 50), (0.5, 90)])
def test_another_light_is_a_step_and_no_cut(gain: float, shift: float) -> None:
    before, after = look_of(seen(ONE)), look_of(relit(seen(ONE, -2), gain, shift))
    assert histogram_distance(before, after) > 0.1
    assert is_light_step(before, after)
    assert is_light_step(after, before)
    assert not is_cut(before, after, THRESHOLD)


def test_points_are_found_over_a_step_of_light() -> None:
    before, after = seen(ONE), relit(seen(ONE, -2), 0.5, 90)
    points = np.random.default_rng(0).uniform((20, 20), (300, 220), (200, 2)).astype(np.float32)
    estimator = make_estimator()
    (found,) = estimator.follow([PointQuery(with_light_of(before, after), after, points)])
    right = found.found & (np.abs(found.points - points - (-2, 0)).max(axis=1) < 0.5)
    assert right.mean() > 0.9


def test_a_frame_takes_the_mean_and_contrast_of_another() -> None:
    light = with_light_of(seen(ONE), relit(seen(ONE), 0.4, 60))
    wanted = relit(seen(ONE), 0.4, 60)
    assert light.dtype == np.uint8
    assert light.mean() == pytest.approx(wanted.mean(), abs=1)
    assert light.std() == pytest.approx(wanted.std(), abs=1)
    flat = np.full((9, 9), 30, np.uint8)
    assert np.abs(with_light_of(flat, seen(ONE)).astype(float) - seen(ONE).mean()).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 300)])
def test_tiny_and_flat_frames_have_looks(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    look, flat = look_of(noise), look_of(np.zeros(size, np.uint8))
    assert look.histogram.shape == (16, 16)
    assert not flat.thumbnail.any()
    assert not is_light_step(flat, flat)
    assert not is_cut(flat, flat, THRESHOLD)
    assert 0 <= histogram_distance(look, flat) <= 1
