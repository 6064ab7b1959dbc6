"""The stage as a whole: mined tracks against known motion, their unit, and the outcomes of bad videos."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pytest

from storage.keys import KeyDocument, Recipe
from storage.manifests import read_file, read_manifest, video_path
from storage.root import Root, RootError, open_root
from storage.tables import read_table
from tasks.records import TRACK_SCHEMA, Dropped
from tasks.track.appearance import appearance_patches, correlation
from tasks.track.boxes import Box
from tasks.track.config import TrackConfig
from tasks.track.gates import FRAME_REASONS, TRACK_REASONS
from tasks.track.key import key_document
from tasks.track.video import MinedVideo, local_video, mine_video, track_video
from tests.tasks.track.conftest import WriteVideo, crossing_squares, moving_square, shifted, textured

VIDEO = "ab" * 32
KLT = TrackConfig(estimator="klt")


@pytest.fixture(scope="module")
def square() -> list[np.ndarray]:
    return moving_square(48)


def assert_counts_add_up(mined: MinedVideo) -> None:
    counts = mined.counts
    rejected_windows = sum(counts[f"rejected_{reason}"] for reason in TRACK_REASONS)
    assert counts["tracks"] == len(mined.rows)
    assert counts["windows"] == counts["tracks"] + rejected_windows
    rejected_starts = sum(counts[f"rejected_{reason}"] for reason in FRAME_REASONS)
    assert rejected_starts <= counts["starts"]
    assert counts["windows"] >= counts["starts"] - rejected_starts
    assert all(value >= 0 for value in counts.values())


def test_tracks_follow_the_square_not_the_ground(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    config = TrackConfig(estimator="klt", duplicate_frames=5)
    mined = mine_video(write_video("square.mp4", square), VIDEO, config)
    assert_counts_add_up(mined)
    assert len(mined.rows) >= 3
    assert {row["start_frame"] for row in mined.rows} <= {1, 6, 11, 16}
    for row in mined.rows:
        assert row["end_frame"] == row["start_frame"] + 30
        assert len(row["boxes"]) == 31
        assert row["end_seconds"] - row["start_seconds"] == pytest.approx(30 / 25)
        for offset, (x, y, width, height) in enumerate(row["boxes"]):
            left = 20 + 2 * (row["start_frame"] + offset)
            assert width == height
            assert left < x + width / 2 < left + 80
            assert 80 < y + height / 2 < 160
        (x, y, first, _), (u, v, last, _) = row["boxes"][0], row["boxes"][-1]
        left = 20 + 2 * row["start_frame"]
        fits = x >= left and x + first <= left + 80 and y >= 80 and y + first <= 160
        # A window that overhangs the square comes nearer to it; one inside only moves with it.
        assert u + last / 2 - x - first / 2 == pytest.approx(60, abs=3 if fits else 15)
        assert v + last / 2 - y - first / 2 == pytest.approx(0, abs=3 if fits else 15)
        assert last / first == pytest.approx(1, abs=0.15)
        assert row["forward_backward_px"] < 0.3
        assert row["confidence"] >= 0.8
        assert min(row["agreement"]) > 0.5
        # Against the frames before coding. Where a window overhangs the square the ground behind it changes, so how
        # alike its two looks are rests on where the flow, which differs between machines, has put it.
        looks = (
            appearance_patches(np.ascontiguousarray(square[time][:, :, 0]), [Box(*row["boxes"][place])])[0]
            for time, place in ((row["start_frame"], 0), (row["end_frame"], -1))
        )
        assert row["ncc"] == pytest.approx(correlation(*looks), abs=0.05)
        if fits:
            assert row["ncc"] > 0.8


def test_boxes_and_crops_are_in_source_pixels(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    large = [cv2.resize(frame, (960, 720), interpolation=cv2.INTER_LINEAR) for frame in square[:34]]
    mined = mine_video(write_video("large.mp4", large), VIDEO, KLT)
    assert mined.facts["width"] == 960
    row = mined.rows[0]
    assert (row["frame_width"], row["frame_height"]) == (960, 720)
    x, _, width, _ = row["boxes"][0]
    assert width in [pytest.approx(3 * side) for side in KLT.window_sides]
    assert 3 * 22 < x + width / 2 < 3 * 102
    anchor = cv2.imdecode(np.frombuffer(row["anchor_jpeg"], np.uint8), cv2.IMREAD_COLOR)
    assert anchor.shape == (round(1.5 * width), round(1.5 * width), 3)


def test_a_still_video_and_a_pan_give_no_track_but_counts(write_video: WriteVideo) -> None:
    ground = textured(1, 400, 700)
    for camera in (0.0, 2.0):
        frames = [shifted(ground, -camera * time - 20, -40, 1, (320, 240)) for time in range(40)]
        rgb = [np.repeat(frame[:, :, None], 3, axis=2) for frame in frames]
        mined = mine_video(write_video("pan.mp4", rgb), VIDEO, KLT)
        assert mined.rows == []
        assert mined.counts["rejected_too_few_moving"] == mined.counts["starts"] == 8


def test_a_cut_ends_every_track(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    other = [255 - frame // 2 for frame in square]
    path = write_video("cut.mp4", [*square[:22], *other[22:]])
    mined = mine_video(path, VIDEO, KLT)
    assert_counts_add_up(mined)
    assert mined.counts["rejected_crossed_cut"] >= 2
    assert not [row for row in mined.rows if row["start_frame"] < 22 <= row["end_frame"]]
    start_on_cut = mine_video(path, VIDEO, TrackConfig(estimator="klt", start_every_frames=21))
    assert start_on_cut.counts["rejected_cut"] == 1
    ungated = mine_video(path, VIDEO, TrackConfig(estimator="klt", cut_threshold=1))
    assert ungated.counts["rejected_crossed_cut"] == ungated.counts["rejected_cut"] == 0


def test_duplicates_in_space_and_time_are_suppressed(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    path = write_video("square.mp4", square)
    every = mine_video(path, VIDEO, TrackConfig(estimator="klt", duplicate_frames=0))
    few = mine_video(path, VIDEO, TrackConfig(estimator="klt", duplicate_frames=300))
    assert every.counts["rejected_duplicate"] == 0
    assert few.counts["rejected_duplicate"] > 0
    assert 1 <= len(few.rows) < len(every.rows)
    assert_counts_add_up(few)


def test_gates_reject_by_their_own_reason(write_video: WriteVideo, square: list[np.ndarray]) -> None:
    path = write_video("square.mp4", square)
    strict = mine_video(path, VIDEO, TrackConfig(estimator="klt", min_ncc=1.0))
    assert strict.rows == []
    assert strict.counts["rejected_appearance"] > 0
    strict = mine_video(path, VIDEO, TrackConfig(estimator="klt", fb_threshold_px=1e-6))
    assert strict.rows == []
    assert strict.counts["rejected_forward_backward"] > 0
    many = mine_video(path, VIDEO, TrackConfig(estimator="klt", max_moving_share=0.01, min_moving_share=0))
    assert many.counts["rejected_too_many_moving"] == many.counts["starts"]


def test_a_window_that_leaves_the_frame_is_rejected(write_video: WriteVideo) -> None:
    mined = mine_video(write_video("fast.mp4", moving_square(40, speed=9)), VIDEO, KLT)
    assert mined.counts["rejected_out_of_frame"] + mined.counts["rejected_lost"] > 0
    assert all(row["start_frame"] != 1 for row in mined.rows)
    assert_counts_add_up(mined)


def test_the_tracks_of_a_long_video_are_thinned_evenly(write_video: WriteVideo) -> None:
    frames = moving_square(60, speed=1)
    path = write_video("long.mp4", frames)
    config = {"gap_frames": 8, "start_every_frames": 1, "duplicate_frames": 0, "windows_per_frame": 1}
    every = mine_video(path, VIDEO, TrackConfig(estimator="klt", **config))
    few = mine_video(path, VIDEO, TrackConfig(estimator="klt", **config, max_tracks=12))
    assert len(every.rows) > 24
    assert 4 <= len(few.rows) <= 12
    assert_counts_add_up(few)
    assert few.counts["rejected_thinned"] > 0
    starts = [row["start_frame"] for row in few.rows]
    assert starts[0] < 10
    assert starts[-1] > 40
    whole = {row["track"] for row in every.rows}
    assert {row["track"] for row in few.rows} <= whole
    one = mine_video(path, VIDEO, TrackConfig(estimator="klt", **config, max_tracks=1))
    assert len(one.rows) == 1


def test_starts_with_several_windows_are_thinned_whole(write_video: WriteVideo) -> None:
    path = write_video("four.mp4", crossing_squares(60))
    config = TrackConfig(
        estimator="klt", gap_frames=8, start_every_frames=1, duplicate_frames=0, windows_per_frame=4, max_tracks=10
    )
    mined = mine_video(path, VIDEO, config)
    assert_counts_add_up(mined)
    assert 1 <= len(mined.rows) <= 10
    assert mined.counts["rejected_thinned"] > 10
    one = mine_video(path, VIDEO, config.model_copy(update={"max_tracks": 1}))
    assert_counts_add_up(one)
    assert len(one.rows) <= 1


@pytest.mark.parametrize("estimator", ["dis", "farneback", "kcf"])
def test_every_estimator_mines(write_video: WriteVideo, square: list[np.ndarray], estimator: str) -> None:
    # One size that lies inside the square: a box tracker holds to whatever fills most of its window.
    config = TrackConfig(estimator=estimator, gap_frames=6, windows_per_frame=1, window_scales=(0.67,))  # type: ignore[arg-type]
    mined = mine_video(write_video("square.mp4", square[:14]), VIDEO, config)
    assert mined.rows
    assert mined.facts["estimator"] == estimator
    for row in mined.rows:
        assert row["estimator"] == estimator
        moved = row["boxes"][-1][0] + row["boxes"][-1][2] / 2 - row["boxes"][0][0] - row["boxes"][0][2] / 2
        assert moved == pytest.approx(12, abs=3)


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root") if request.param == "local" else f"memory://{tmp_path.name}-track")


def store(root: Root, path: Path) -> str:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    root.upload(path, video_path(sha256))
    return sha256


def test_a_unit_is_committed_and_read_by_duckdb(
    write_video: WriteVideo, square: list[np.ndarray], root: Root, tmp_path: Path
) -> None:
    video = store(root, write_video("square.mp4", square))
    config, told = KLT, []
    document = key_document(config, video)
    manifest = track_video(root, video, config, document, lambda done, total, note="": told.append((done, total)))
    assert read_manifest(root, "track", document.key) == manifest
    table = read_table(root, manifest.files["tracks.parquet"])
    assert table.schema.equals(TRACK_SCHEMA)
    assert manifest.counts["tracks"] == table.num_rows > 0
    assert manifest.counts["decode_errors"] == 0
    assert manifest.facts["frames"] == manifest.counts["frames"] == told[-1][0] == 48
    assert manifest.facts["seconds"] == pytest.approx(47 / 25)
    assert (manifest.facts["width"], manifest.facts["height"], manifest.facts["fps"]) == (320, 240, 25)
    signature = manifest.facts["signature"]
    assert isinstance(signature, list)
    assert {len(value) for value in signature} == {16}
    assert 1 <= len(signature) <= 32
    local = tmp_path / "tracks.parquet"
    local.write_bytes(read_file(root, manifest.files["tracks.parquet"]))
    found = duckdb.sql(
        f"select start_frame, end_frame - start_frame, len(boxes), track, video from '{local}'"
    ).fetchall()
    assert [row[0] for row in found] == sorted(row[0] for row in found)
    assert all(row[1:3] == (30, 31) and row[3].startswith(video[:16]) and row[4] == video for row in found)
    assert len({row[3] for row in found}) == len(found)


def test_equal_videos_give_equal_bytes(write_video: WriteVideo, square: list[np.ndarray], tmp_path: Path) -> None:
    path = write_video("square.mp4", square)
    digests = set()
    for name in ("one", "other"):
        root = open_root(str(tmp_path / name))
        video = store(root, path)
        manifest = track_video(root, video, KLT, key_document(KLT, video))
        digests.add(manifest.files["tracks.parquet"].sha256)
    assert len(digests) == 1


def test_a_video_without_tracks_is_committed_empty(write_video: WriteVideo, root: Root) -> None:
    flat = [np.full((64, 96, 3), 90, np.uint8)] * 34
    video = store(root, write_video("flat.mp4", flat))
    manifest = track_video(root, video, KLT, key_document(KLT, video))
    table = read_table(root, manifest.files["tracks.parquet"])
    assert table.num_rows == manifest.counts["tracks"] == 0
    assert table.schema.equals(TRACK_SCHEMA)
    assert manifest.counts["rejected_no_points"] == manifest.counts["starts"] > 0


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (9, 16), (40, 30), (8, 300)])
def test_tiny_frames_are_counted_not_crashed_on(write_video: WriteVideo, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 255, (*size, 3), dtype=np.uint8) for _ in range(12)]
    path = write_video("tiny.avi", frames, codec="ffv1", pixel_format="bgr0")
    for estimator in ("klt", "farneback", "dis", "kcf"):
        mined = mine_video(path, VIDEO, TrackConfig(gap_frames=3, estimator=estimator))  # type: ignore[arg-type]
        assert_counts_add_up(mined)


@pytest.mark.parametrize("num_frames", [1, 30])
def test_a_short_video_is_dropped(
    write_video: WriteVideo, root: Root, square: list[np.ndarray], num_frames: int
) -> None:
    video = store(root, write_video("short.mp4", square[:num_frames]))
    document = key_document(KLT, video)
    with pytest.raises(Dropped) as caught:
        track_video(root, video, KLT, document)
    assert (caught.value.kind, caught.value.reason) == ("poison", "too_short")
    assert caught.value.words == f"{num_frames} frames decode, a track needs 31"
    assert read_manifest(root, "track", document.key) is None


def test_a_truncated_video_keeps_its_tracks_and_says_so(
    write_video: WriteVideo, square: list[np.ndarray], root: Root
) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (240, 320, 3), dtype=np.uint8) for _ in range(20)]
    whole = write_video("whole.mp4", [*square, *noise], options={"movflags": "+faststart"})
    data = whole.read_bytes()
    whole.write_bytes(data[: len(data) - 400_000])
    video = store(root, whole)
    manifest = track_video(root, video, KLT, key_document(KLT, video))
    assert manifest.counts["tracks"] > 0
    assert manifest.counts["decode_errors"] == 1
    assert manifest.facts["stopped"]
    assert 48 <= manifest.counts["frames"] < 68


def test_a_video_that_the_root_lacks_is_an_error(root: Root) -> None:
    with pytest.raises((FileNotFoundError, RootError)):  # whichever says so first: the local look, or the store
        track_video(root, VIDEO, KLT, KeyDocument(Recipe("track", 1)))


def test_a_remote_video_is_downloaded_and_removed(tmp_path: Path) -> None:
    root = open_root(f"memory://{tmp_path.name}-local")
    root.write_bytes(video_path(VIDEO), b"bytes")
    with local_video(root, VIDEO) as path:
        assert path.read_bytes() == b"bytes"
    assert not path.exists()
