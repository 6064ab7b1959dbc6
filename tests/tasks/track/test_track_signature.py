"""Signatures: what a look survives, and which frames stand out, against a slow reference."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.track.signature import MAX_FRAMES, Look, SignatureSampler, look_at
from tests.tasks.track.conftest import shifted, textured

PICTURES = [shifted(textured(seed, 40, 60), 0, 0, 8, (480, 320)).astype(np.uint8) for seed in range(12)]
ODD_COLUMNS = 0x5555_5555_5555_5555


def look(picture: np.ndarray) -> Look:
    found = look_at(picture)
    assert found is not None
    return found


def differing(one: np.ndarray, other: np.ndarray) -> int:
    return (look(one).value ^ look(other).value).bit_count()


def bordered(picture: np.ndarray, rows: int, columns: int, grey: int) -> np.ndarray:
    noise = np.random.default_rng(0).integers(0, 4, (320 + 2 * rows, 480 + 2 * columns))
    wide = (grey + noise).astype(np.uint8)
    wide[rows : rows + 320, columns : columns + 480] = picture
    return wide


def test_looks_survive_noise_light_and_size_and_tell_pictures_apart() -> None:
    rng = np.random.default_rng(0)
    for picture in PICTURES:
        changed = np.clip(picture * 0.9 + 12 + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
        small = cv2.resize(changed, (240, 160), interpolation=cv2.INTER_AREA)
        assert differing(picture, small) <= 6
        assert look(picture).level == pytest.approx(look(small).level, abs=0.1)
    apart = [differing(one, other) for one in PICTURES for other in PICTURES if one is not other]
    assert min(apart) > 10
    assert np.median(apart) >= 28


def test_a_mirrored_picture_differs_in_the_odd_columns_alone_and_stands_as_high() -> None:
    for picture in PICTURES:
        mirrored = look(np.ascontiguousarray(picture[:, ::-1]))
        assert (mirrored.value ^ look(picture).value ^ ODD_COLUMNS).bit_count() <= 2
        assert mirrored.level == pytest.approx(look(picture).level, abs=0.02)


@pytest.mark.parametrize(("rows", "columns", "grey"), [(60, 0, 0), (0, 80, 0), (60, 80, 16), (24, 36, 180)])
def test_borders_of_one_colour_change_little(rows: int, columns: int, grey: int) -> None:
    changed = [differing(picture, bordered(picture, rows, columns, grey)) for picture in PICTURES]
    assert np.median(changed) <= 4
    assert max(changed) <= 10


@pytest.mark.parametrize("shape", [(1, 1), (2, 300), (300, 2), (64, 64), (240, 427), (2160, 3840)])
def test_frames_of_any_shape_have_a_look_and_flat_ones_none(shape: tuple[int, int]) -> None:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = (rows * 120 / max(shape[0] - 1, 1) + columns * 120 / max(shape[1] - 1, 1)).astype(np.uint8)
    assert (look_at(ramp) is None) == (shape == (1, 1))
    for grey in (0, 16, 255):
        assert look_at(np.full(shape, grey, np.uint8)) is None


def test_a_black_frame_with_the_noise_of_its_encoder_tells_nothing() -> None:
    noise = np.random.default_rng(0).integers(14, 19, (240, 320), dtype=np.uint8)
    assert look_at(noise) is None
    letterboxed = np.zeros((240, 320), np.uint8)
    letterboxed[60:180] = noise[60:180]
    assert look_at(letterboxed) is None


def signature(seconds: list[float], levels: list[float]) -> list[int]:
    """Places of the frames that a video's signature keeps, in its order."""
    sampler = SignatureSampler()
    for place, (at, level) in enumerate(zip(seconds, levels, strict=True)):
        sampler.feed(at, Look(place, level))
    return [int(value, 16) for value in sampler.signature()]


def slow_signature(seconds: list[float], levels: list[float]) -> list[int]:
    """The same, every frame held against every other."""
    ranked = []
    for place in range(len(seconds)):
        standing = [slow_standing(seconds, [sign * level for level in levels], place) for sign in (1, -1)]
        if max(standing) >= 0:
            ranked.append((-max(standing), place))
    return [place for _, place in sorted(ranked)][:32]


def slow_standing(seconds: list[float], levels: list[float], place: int) -> float:
    before = [seconds[place] - seconds[other] for other in range(place) if levels[other] >= levels[place]]
    after = [
        seconds[other] - seconds[place] for other in range(place + 1, len(seconds)) if levels[other] > levels[place]
    ]
    if min([math.inf, *before, *after]) < 0.25:
        return -1.0
    return min(
        [*before, *after] + [seconds[place] - seconds[0]] * (not before) + [seconds[-1] - seconds[place]] * (not after)
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), min_size=1, max_size=120))
def test_the_frames_that_stand_out_are_those_of_the_slow_reference(frames: list[tuple[int, int]]) -> None:
    """Of irregular times, still pictures and many equal levels."""
    seconds = [float(second) for second in np.cumsum([step / 16 for step, _ in frames])]
    levels = [level / 4 for _, level in frames]
    assert signature(seconds, levels) == slow_signature(seconds, levels)


def wandering(seed: int, num_frames: int) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    levels = np.convolve(np.cumsum(rng.normal(size=num_frames + 8)), np.ones(9) / 9, "valid")
    return [place / 25 for place in range(num_frames)], levels.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("start", "end"), [(0, 1500), (1500, 3000), (4500, 6000), (7, 6000), (2000, 5000)])
def test_the_first_frames_of_a_trim_are_among_those_of_the_whole(seed: int, start: int, end: int) -> None:
    """Four minutes, and a quarter of them: at least half of its first eight, as near-duplicates are told by."""
    seconds, levels = wandering(seed, 6000)
    whole = signature(seconds, levels)
    trim = [start + place for place in signature([place / 25 for place in range(end - start)], levels[start:end])]
    assert len(whole) == len(trim) == MAX_FRAMES
    assert sum(place in whole for place in trim[:8]) >= 4


@pytest.mark.parametrize("seed", range(4))
def test_a_copy_at_half_the_rate_keeps_the_same_moments(seed: int) -> None:
    seconds, levels = wandering(seed, 3000)
    whole = np.array(signature(seconds, levels))
    copy = 2 * np.array(signature(seconds[::2], levels[::2]))
    assert np.mean(np.abs(copy[:, None] - whole).min(1) <= 2) > 0.8


def test_a_video_that_shows_nothing_has_no_signature_and_a_still_one_a_single_hash() -> None:
    sampler = SignatureSampler()
    assert sampler.signature() == []
    for number in range(40):
        sampler.feed(number / 25, None)
    assert sampler.signature() == []
    for number in range(40):
        sampler.feed(2 + number / 25, Look(7, 0.5))
    assert sampler.signature() == [f"{7:016x}"]


def test_times_that_stand_still_or_go_back_are_taken_as_they_come() -> None:
    assert set(signature([0.0] * 50, [float(number % 7) for number in range(50)])) == {0, 6}
    assert signature([0.0, 5.0, 1.0, 6.0], [0.0, 3.0, 0.0, -3.0])
