"""Any video: rates that vary, turned pictures, odd sizes, sizes that change, and gaps in frames or in seconds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tasks.records import Dropped
from tasks.track.config import TrackConfig
from tasks.track.rows import TrackRow
from tasks.track.video import MinedVideo, mine_video
from tests.tasks.track.conftest import WriteVideo, moving_square, turn_metadata

VIDEO = "ab" * 32
SHORT = TrackConfig(estimator="klt", gap_frames=10)
# Frames that come and go: bursts, pauses, and a clock that begins late; in 25ths of a second.
TIMES = np.cumsum([50, *[1, 1, 2, 1, 6, 1, 3] * 8])[:48].tolist()


@pytest.fixture(scope="module")
def square() -> list[np.ndarray]:
    return moving_square(48)


def rows_of(path: Path, config: TrackConfig) -> list[TrackRow]:
    mined = mine_video(path, VIDEO, config)
    assert mined.rows, mined.counts
    return mined.rows


def assert_on_the_square(row: TrackRow, scale_x: float = 1.0, scale_y: float = 1.0) -> None:
    """Every box's centre lies on the square of `moving_square`, in source px of a video at another scale."""
    for offset, (x, y, width, height) in enumerate(row["boxes"]):
        assert width == pytest.approx(height)
        left = 20 + 2 * (row["start_frame"] + offset)
        assert left < (x + width / 2) / scale_x < left + 80
        assert 80 < (y + height / 2) / scale_y < 160


def test_times_are_those_of_the_frames(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    seconds = (np.array(TIMES) - TIMES[0]) / 25
    path = write_video("variable.mkv", square, times=TIMES)
    mined = mine_video(path, VIDEO, SHORT)
    assert mined.rows
    assert mined.facts["seconds"] == pytest.approx(seconds[-1], abs=2e-3)
    for row in mined.rows:
        start, end = row["start_frame"], row["end_frame"]
        assert end - start == 10
        assert np.allclose(row["seconds"], seconds[start : end + 1], atol=2e-3)
        assert (row["start_seconds"], row["end_seconds"]) == (row["seconds"][0], row["seconds"][-1])
        assert_on_the_square(row)
    rates_apart = {round(row["end_seconds"] - row["start_seconds"], 2) for row in mined.rows}
    assert len(rates_apart) > 1, "ten frames last longer here than there"


@pytest.mark.parametrize("gap", [0.4, 0.41, 1.0])
def test_a_gap_in_seconds_ends_at_the_first_frame_at_or_after_it(
    write_video: WriteVideo, square: list[np.ndarray], gap: float
) -> None:
    config = TrackConfig(estimator="klt", gap_seconds=gap)
    for row in rows_of(write_video("variable.mkv", square, times=TIMES), config):
        lasts = np.array(row["seconds"]) - row["seconds"][0]
        assert lasts[-1] >= gap - 2e-3
        assert (lasts[:-1] < gap).all()
        assert_on_the_square(row)


def test_at_a_constant_rate_seconds_are_frames(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    path = write_video("square.mp4", square)
    in_frames = rows_of(path, TrackConfig(estimator="klt", gap_frames=20))
    assert rows_of(path, TrackConfig(estimator="klt", gap_seconds=0.8)) == in_frames
    later = rows_of(path, TrackConfig(estimator="klt", gap_seconds=0.801, gap_frames=5))
    assert {row["end_frame"] - row["start_frame"] for row in later} == {21}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrackConfig(estimator="klt", gap_frames=48), "48 frames decode, a track needs 49"),
        (TrackConfig(estimator="klt", gap_seconds=2), "1.9 s decode, a track needs 2 s"),
    ],
)
def test_a_video_shorter_than_the_gap_is_dropped_until_the_gap_changes(
    write_video: WriteVideo, square: list[np.ndarray], config: TrackConfig, words: str
) -> None:
    with pytest.raises(Dropped) as caught:
        mine_video(write_video("short.mp4", square), VIDEO, config)
    dropped = caught.value
    assert (dropped.kind, dropped.reason, dropped.words) == ("poison", "too_short", words)
    assert set(dropped.settings) == {"gap_frames", "gap_seconds"}


@pytest.mark.parametrize(
    "gap", [{"gap_frames": 30}, {"gap_seconds": 1.2}, {"gap_seconds": 0.01}], ids=["frames", "seconds", "no time"]
)
def test_a_video_of_just_the_gap_is_not_too_short(
    write_video: WriteVideo, square: list[np.ndarray], gap: dict[str, float]
) -> None:
    config = TrackConfig.model_validate({"estimator": "klt", **gap})
    assert mine_video(write_video("just.mp4", square[:31]), VIDEO, config).counts["frames"] == 31


def test_one_frame_has_no_gap(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    for config in (SHORT, TrackConfig(estimator="klt", gap_seconds=0.01)):
        with pytest.raises(Dropped, match="too_short"):
            mine_video(write_video("one.mp4", square[:1]), VIDEO, config)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_video_is_mined_upright(write_video: WriteVideo, square: list[np.ndarray], turns: int) -> None:
    path = write_video("turned.mp4", [np.ascontiguousarray(np.rot90(frame, -turns)) for frame in square[:24]])
    turn_metadata(path, turns)
    mined = mine_video(path, VIDEO, SHORT)
    assert mined.rows
    assert (mined.facts["width"], mined.facts["height"]) == (320, 240)
    for row in mined.rows:
        assert (row["frame_width"], row["frame_height"]) == (320, 240)
        assert_on_the_square(row)
        # The square is nowhere near in a frame that lies on its side; the crop is cut from the upright one too.
        crop = cv2.imdecode(np.frombuffer(row["anchor_jpeg"], np.uint8), cv2.IMREAD_GRAYSCALE)
        x, y, side, _ = row["boxes"][0]
        centre = square[row["start_frame"]][:, :, 0][int(y + side / 2) - 9 :, int(x + side / 2) - 9 :][:18, :18]
        middle = crop.shape[0] // 2
        seen = crop[middle - 12 : middle + 12, middle - 12 : middle + 12]
        assert cv2.matchTemplate(seen, np.ascontiguousarray(centre), cv2.TM_CCOEFF_NORMED).max() > 0.9


@pytest.mark.parametrize(
    ("width", "height", "patch_px", "working_height_px"),
    [(321, 241, 48, 120), (321, 241, 72, 240), (128, 72, 24, 240), (101, 301, 48, 240), (640, 360, 48, 144)],
)
def test_odd_sizes_are_mined(
    write_video: WriteVideo, square: list[np.ndarray], width: int, height: int, patch_px: int, working_height_px: int
) -> None:
    frames = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in square[:24]]
    path = write_video("odd.avi", frames, codec="ffv1", pixel_format="bgr0")
    config = TrackConfig(
        estimator="klt", gap_frames=10, patch_px=patch_px, working_height_px=working_height_px, window_scales=(1.0,)
    )
    for row in rows_of(path, config):
        assert (row["frame_width"], row["frame_height"]) == (width, height)
        assert row["boxes"][0][2] == pytest.approx(patch_px * height / min(height, working_height_px))
        assert_on_the_square(row, width / 320, height / 240)


def test_a_portrait_video_is_mined(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    frames = [np.ascontiguousarray(frame[:, :136]) for frame in square[:18]]
    rows = rows_of(write_video("portrait.mp4", frames), TrackConfig(estimator="klt", gap_frames=8, patch_px=48))
    for row in rows:
        assert (row["frame_width"], row["frame_height"]) == (136, 240)
        assert_on_the_square(row)


def test_tracks_end_where_the_size_changes_and_begin_anew_after_it(
    write_video: WriteVideo, square: list[np.ndarray]
) -> None:
    small = [cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA) for frame in square]
    first = write_video("first.ts", square[:24])
    second = write_video("second.ts", small[24:], times=list(range(24, 48)))
    path = first.with_name("both.ts")
    path.write_bytes(first.read_bytes() + second.read_bytes())
    mined = mine_video(path, VIDEO, SHORT.model_copy(update={"patch_px": 48}))
    assert mined.counts["frames"] == 48
    assert mined.counts["rejected_resized"] > 0
    assert (mined.facts["width"], mined.facts["height"]) == (320, 240)
    sizes = {(row["frame_width"], row["frame_height"]) for row in mined.rows}
    assert sizes == {(320, 240), (160, 120)}
    for row in mined.rows:
        assert row["end_frame"] < 24 or row["start_frame"] > 24
        scale = row["frame_width"] / 320
        assert_on_the_square(row, scale, scale)
    resized = [row for row in mined.rejected if row["reason"] == "resized"]
    assert resized
    assert all(row["end_frame"] == 23 for row in resized)
    assert_rejected_add_up(mined)


def assert_rejected_add_up(mined: MinedVideo) -> None:
    for reason in {row["reason"] for row in mined.rejected}:
        assert mined.counts[f"rejected_{reason}"] == sum(row["reason"] == reason for row in mined.rejected)
