"""Overlay videos and contact sheets: what is drawn lies where the track is, and when."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import av
import cv2
import numpy as np
import pytest

from storage.root import RootError
from tasks.records import Dropped
from tasks.track.config import TrackConfig
from tasks.track.crops import CONTEXT, context_crop, jpeg
from tasks.track.curves import draw_curve, score_curves
from tasks.track.drawing import (
    PANEL,
    Picture,
    blank,
    cut,
    cut_box,
    decode_crop,
    plain,
    put_corners,
    put_tag,
    put_text,
    tag_patch,
)
from tasks.track.overlay import TrackOverlay, VideoOverlay, VideoWriter
from tasks.track.rows import PathRow
from tasks.track.sheets import TILE_PX, track_sheet, tracks_sheet
from tasks.track.shown import ShownTrack, shown_tracks, watch
from tasks.track.strips import StoryLooker, StripLooker, frames_between, frames_of_strip
from tasks.track.video import mine_video
from tests.tasks.track.conftest import WriteVideo, moving_square, textured
from tests.tasks.track.track_rows import VIDEO, path_row, rejected_row, track_row


def tracks_of(*rows: dict[str, Any]) -> list[ShownTrack]:
    return shown_tracks(cast(list[PathRow], list(rows)))


def read_back(path: Path) -> tuple[list[np.ndarray], list[float], str]:
    """Frames, their times and the codec of an mp4."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        decoded = list(container.decode(stream))
        times = [float(frame.time) for frame in decoded if frame.time is not None]
        return [frame.to_ndarray(format="rgb24") for frame in decoded], times, stream.codec_context.name


def colourfulness(picture: np.ndarray) -> float:
    """Largest difference between channels: 0 on the grey test videos, but for what is drawn and what coding does."""
    return float((picture.max(axis=2).astype(int) - picture.min(axis=2)).max())


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return moving_square(48)


def test_boxes_are_drawn_where_and_while_the_track_is(
    write_video: WriteVideo, frames: list[np.ndarray], tmp_path: Path
) -> None:
    source, target = write_video("square.mp4", frames), tmp_path / "overlay.mp4"
    (track,) = tracks_of(track_row())
    with VideoWriter(target) as writer:
        assert watch(source, [VideoOverlay(writer, [track])]) == 48
    pictures, times, _ = read_back(target)
    assert len(pictures) == 48
    assert times == pytest.approx([frame / 25 for frame in range(48)], abs=1e-3)
    for index, picture in enumerate(pictures):
        assert picture.shape == (480 + 24, 640, 3), "twice the size of the small frames, above a line of text"
        seen = picture[:480]
        if index not in track.frames:
            assert colourfulness(seen) < 40
            continue
        x, y, width, height = (2 * value for value in track.row["boxes"][index - track.frames.start])
        for across, down in ((x, y + height / 2), (x + width, y + height / 2), (x + width / 2, y + height)):
            near = seen[round(down) - 3 : round(down) + 4, round(across) - 3 : round(across) + 4]
            assert colourfulness(near) > 100, f"an edge of the box in frame {index}"
        assert colourfulness(seen[:, : round(x) - 70]) < 40, "nothing far left of it"


def test_an_overlay_of_one_track_has_some_frames_around_it(
    write_video: WriteVideo, frames: list[np.ndarray], tmp_path: Path
) -> None:
    source = write_video("square.mp4", frames)
    for start, first in ((12, 2), (4, 0)):
        target = tmp_path / f"{start}.mp4"
        (track,) = tracks_of(track_row(start=start))
        with VideoWriter(target) as writer:
            watch(source, [TrackOverlay(writer, track)])
        pictures, times, _ = read_back(target)
        assert len(pictures) == track.frames.stop + 10 - first
        assert times[0] == 0
        height, width = pictures[0].shape[:2]
        assert height % 2 == width % 2 == 0
        assert width > 640, "a column beside the frame"
        before, during = pictures[start - first - 1], pictures[start - first + 1]
        assert colourfulness(before[:560, :740]) < 80 < 120 < colourfulness(during[:560, :740])


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_frames_keep_their_times_and_sizes_become_even(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if codec not in av.codecs_available:
        pytest.skip(f"no {codec} in this FFmpeg")
    monkeypatch.setattr(av, "codecs_available", {codec})
    times = [5.0, 5.02, 5.5, 5.5, 7.25, 7.26]  # two at the same time, as broken files have
    with VideoWriter(tmp_path / "odd.mp4") as writer:
        for number, seconds in enumerate(times):
            size = (161, 121) if number != 3 else (200, 90)
            writer.write(blank(*size, (40 * number, 90, 90)), seconds)
    pictures, seen, name = read_back(tmp_path / "odd.mp4")
    assert name == {"libx264": "h264", "mpeg4": "mpeg4"}[codec]
    assert {picture.shape for picture in pictures} == {(120, 160, 3)}
    assert seen == pytest.approx([time - 5 for time in times], abs=1e-3)
    reds = [int(picture[60, 80, 0]) for picture in pictures]
    assert reds == pytest.approx([40 * number for number in range(6)], abs=12)


def test_a_video_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with VideoWriter(tmp_path / "broken.mp4") as writer:
            writer.write(blank(64, 64), 0.0)
            raise RuntimeError("in between")

    with pytest.raises(RuntimeError, match="in between"):
        break_off()
    with VideoWriter(tmp_path / "empty.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_video_are_dropped_as_by_tracking(tmp_path: Path) -> None:
    path = tmp_path / "rubbish"
    path.write_bytes(b"no video" * 100)
    (track,) = tracks_of(track_row())
    with pytest.raises(Dropped, match="unreadable"):
        watch(path, [StripLooker([(track, [12])], 1.5, 32)])


def test_a_cut_is_the_stored_crop() -> None:
    rgb = np.repeat(textured(4, 120, 160)[:, :, None], 3, axis=2).astype(np.uint8)
    for box in ((40.0, 30.0, 40.0, 40.0), (-6.0, 90.0, 40.0, 24.0)):  # inside, and over the frame's edge
        stored = decode_crop(jpeg(context_crop(rgb, box)), 60)
        assert np.abs(cut(rgb, box, CONTEXT, 60).astype(int) - stored).mean() < 3
    dark = cut(rgb, (-40.0, 30.0, 40.0, 40.0), CONTEXT, 60, reflected=False)
    assert (dark[:, :48] == PANEL).all(), "outside the frame"
    with pytest.raises(RootError, match="no JPEG"):
        decode_crop(b"\xff\xd8rubbish", 60)


@pytest.mark.parametrize(("box", "side_px"), [((40.0, 30.0, 40.0, 40.0), 60), ((40.0, 30.0, 60.0, 30.0), 120)])
def test_the_box_of_a_cut_lies_where_it_was_in_the_frame(box: tuple[float, ...], side_px: int) -> None:
    rgb = blank(200, 160, (0, 0, 0))
    x, y, width, height = (round(value) for value in box)
    rgb[y : y + height, x : x + width] = 255
    seen = cut(rgb, box, 1.5, side_px)
    left, top, across, down = cut_box(box, 1.5, side_px)
    rows, columns = np.nonzero(seen[:, :, 0] > 127)
    assert (columns.min(), columns.max() + 1) == pytest.approx((left, left + across), abs=1)
    assert (rows.min(), rows.max() + 1) == pytest.approx((top, top + down), abs=1)


@pytest.mark.parametrize("length", [2, 3, 7, 31, 33, 301])
def test_strips_hold_the_ends_and_every_fifth_frame(length: int) -> None:
    (track,) = tracks_of(path_row(start=10, length=length))
    strip = frames_of_strip(track)
    assert (strip[0], strip[-1]) == (10, 10 + length - 1)
    assert len(strip) <= 10
    assert len({after - before for before, after in itertools.pairwise(strip[:-1])}) <= 1
    if length <= 41:
        assert set(range(10, 10 + length, 5)) <= set(strip)
    between = frames_between(track, 4)
    assert len(between) == min(4, length - 2)
    assert all(10 < frame < 10 + length - 1 for frame in between)


def test_the_likeness_that_is_drawn_ends_at_the_score_of_the_row(
    write_video: WriteVideo, frames: list[np.ndarray]
) -> None:
    config = TrackConfig(estimator="klt")
    path = write_video("square.mp4", frames)
    rows = mine_video(path, VIDEO, config).rows
    assert rows
    for track in tracks_of(*(dict(row) for row in rows[:3])):
        story = StoryLooker(track, config.working_height_px, 100)
        watch(path, [story])
        assert len(story.likeness) == len(track.frames)
        assert story.likeness[0] == pytest.approx(1, abs=1e-4)
        assert story.likeness[-1] == pytest.approx(track.row["ncc"], abs=0.02)
        assert [picture.shape[0] for picture in story.ends.values()] == [100, 100]


def sheet_of(source: Path, tracks: Sequence[ShownTrack]) -> Picture:
    strips = StripLooker([(track, frames_between(track, 4)) for track in tracks], 1.5, TILE_PX)
    watch(source, [strips])
    assert {frame for _, frame in strips.pictures} <= set(range(48))
    return tracks_sheet("title", tracks, strips.pictures)


def test_a_sheet_has_a_cell_a_track(write_video: WriteVideo, frames: list[np.ndarray]) -> None:
    source = write_video("square.mp4", frames)
    one = sheet_of(source, tracks_of(track_row()))
    six = sheet_of(source, tracks_of(*(track_row(start=start) for start in range(6))))
    assert six.shape[1] > 1.9 * one.shape[1], "two columns"
    assert 2 < six.shape[0] / one.shape[0] < 3
    anchor, positive = one[44 + 55 : 44 + 65, 16 + 55 : 16 + 65], one[44 + 55 : 44 + 65, -16 - 65 : -16 - 55]
    assert anchor.mean() == pytest.approx(60, abs=4)
    assert positive.mean() == pytest.approx(200, abs=4)
    assert one[44 + 55 : 44 + 65, 16 + 123 + 55 : 16 + 123 + 65].std() > 5, "a frame between them"


def test_sheets_do_without_video_scores_and_ascii() -> None:
    unknown: dict[str, Any] = {"confidence": None, "forward_backward_px": None, "errors_px": [math.nan] * 20}
    unknown |= {"agreement": [math.nan] * 20, "jolts_px": [math.nan] * 20}
    tracks = tracks_of(track_row(), track_row(start=20, **unknown), rejected_row())
    assert tracks[1].words() == "ncc 0.80   step 0.95   lag 0.85"
    assert len(score_curves(tracks[0], [1.0] * 21)) == 4
    assert score_curves(tracks[1]) == []
    sheet = tracks_sheet("Titel: \u00fc \u4e2d \x1b[31m \n", tracks, {})
    assert sheet.dtype == np.uint8
    for track in tracks:
        assert track_sheet(track, {}, note="\U0001f600" * 400).shape[1] > 900
    assert plain("na\u00efve \x1b[0m\n" + "x" * 100, 20) == "na?ve ?[0m?xxxxxx..."


def test_curves_break_where_nothing_was_measured() -> None:
    (track,) = tracks_of(path_row(start=0, length=11, errors_px=[0.5] * 4 + [math.nan] * 3 + [0.5] * 3))
    curve = score_curves(track)[0]
    panel = draw_curve(curve, {0: 0.0, 10: 100.0}, 101, 60)
    drawn = [colourfulness(panel[20:, place : place + 1]) > 60 for place in range(101)]
    assert all(drawn[12:38])
    assert not any(drawn[45:75])
    assert all(drawn[82:99])


def test_tags_stay_inside_the_picture() -> None:
    canvas = blank(200, 100)
    for x, y in ((-50, -50), (195, 2), (500, 500), (60, 60)):
        place = tag_patch(canvas, "12-3  0.97", x, y)
        assert 0 <= place.left < place.right <= 200
        assert 0 <= place.top < place.bottom <= 100
        put_tag(canvas, "12-3  0.97", x, y, (255, 209, 26))
    put_tag(blank(20, 8), "wider and higher than the picture", 3, 3, (0, 0, 0))
    put_corners(canvas, (-500, -500, 2, 2), (255, 0, 0))
    put_text(canvas, "", 0, 0)
    assert cv2.mean(canvas)[0] > 24, "something was drawn"
