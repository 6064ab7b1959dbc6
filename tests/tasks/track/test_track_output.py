"""The output as a user reads it: both Parquet files by DuckDB and pandas, and crops that show what the boxes hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import duckdb
import numpy as np
import pandas as pd
import pytest

from storage.manifests import Manifest, read_file, video_path
from storage.root import open_root
from tasks.track.appearance import appearance_patches, correlation
from tasks.track.boxes import Box
from tasks.track.config import TrackConfig
from tasks.track.decode import VideoDecoder
from tasks.track.gates import TRACK_REASONS
from tasks.track.key import key_document
from tasks.track.video import track_video
from tests.tasks.track.conftest import crossing_squares, encode

VIDEO = "c0ffee" + "0" * 58
CONFIG = TrackConfig(estimator="klt", gap_frames=12, min_confidence=0.9)


@dataclass(frozen=True)
class Output:
    """A unit's files in a folder, and what it was made from."""

    folder: Path
    manifest: Manifest
    frames: list[np.ndarray]

    @property
    def tracks(self) -> str:
        return str(self.folder / "tracks.parquet")

    @property
    def rejected(self) -> str:
        return str(self.folder / "rejected.parquet")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    """Four squares that cross, at twice the working size."""
    large = [cv2.resize(frame, (640, 480), interpolation=cv2.INTER_LINEAR) for frame in crossing_squares(40)]
    folder = tmp_path_factory.mktemp("output")
    path = folder / "four.mp4"
    encode(path, large)
    root = open_root(str(folder / "root"))
    root.upload(path, video_path(VIDEO))
    manifest = track_video(root, VIDEO, CONFIG, key_document(CONFIG, VIDEO))
    for name, file in manifest.files.items():
        (folder / name).write_bytes(read_file(root, file))
    with VideoDecoder(path) as decoder:
        frames = [frame.rgb() for frame in decoder]
    return Output(folder, manifest, frames)


def test_duckdb_reads_tracks_frame_by_frame(output: Output) -> None:
    rows = duckdb.sql(
        f"""
        select track, start_frame + step - 1 as frame, seconds[step], boxes[step][1] + boxes[step][3] / 2 as x,
               boxes[step][2] + boxes[step][4] / 2 as y
        from (select *, unnest(range(1, len(boxes) + 1)) as step from '{output.tracks}') order by track, frame
        """
    ).fetchall()
    assert len(rows) == 13 * output.manifest.counts["tracks"] > 0
    for _, frame, seconds, x, y in rows:
        assert seconds == pytest.approx(frame / 25)
        assert 0 <= x <= 640
        assert 0 <= y <= 480
    per_track = duckdb.sql(f"select len(boxes), len(seconds), len(errors_px), len(agreement) from '{output.tracks}'")
    assert set(per_track.fetchall()) == {(13, 13, 12, 12)}
    moving = duckdb.sql(f"select count(*) from '{output.tracks}' where abs(boxes[13][1] - boxes[1][1]) > 10").fetchall()
    assert moving[0][0] >= 4, "the squares move 36 px to either side"


def test_provenance_tells_video_frames_and_times(output: Output) -> None:
    found = duckdb.sql(
        f"""select distinct video, estimator, frame_width, frame_height, end_frame - start_frame, context
        from '{output.tracks}'"""
    ).fetchall()
    assert found == [(VIDEO, "klt", 640, 480, 12, 1.5)]
    rows = duckdb.sql(
        f"select track, start_frame, end_frame, start_seconds, end_seconds, seconds from '{output.tracks}'"
    ).fetchall()
    assert len({row[0] for row in rows}) == len(rows)
    for track, start, end, begins, ends, seconds in rows:
        assert track.startswith(f"{VIDEO[:16]}-{start}-")
        assert (begins, ends) == (pytest.approx(start / 25), pytest.approx(end / 25))
        assert (begins, ends) == (seconds[0], seconds[-1])


def test_scores_are_within_their_ranges(output: Output) -> None:
    frame = pd.read_parquet(output.tracks)
    assert frame["confidence"].between(0.9, 1).all()
    assert frame["moving_share"].between(0, 1).all()
    for name in ("ncc", "step_ncc", "lag_ncc"):
        assert frame[name].between(-1.001, 1.001).all()
    assert (frame["forward_backward_px"] == frame["errors_px"].map(max)).all()
    assert frame["agreement"].map(lambda shares: 0 <= min(shares) <= max(shares) <= 1).all()
    assert frame["jolts_px"].map(min).ge(0).all()


def test_pandas_and_duckdb_read_the_same(output: Output) -> None:
    for path in (output.tracks, output.rejected):
        frame = pd.read_parquet(path)
        named = duckdb.sql(f"select track, start_frame, ncc, len(boxes) from '{path}'").fetchall()
        assert [
            (row.track, row.start_frame, pytest.approx(row.ncc), len(row.boxes)) for row in frame.itertuples()
        ] == named
        assert np.stack(list(frame["boxes"].iloc[0])).shape[1] == 4


def test_rejected_tracks_are_counted_by_reason_and_hold_their_boxes_so_far(output: Output) -> None:
    reasons = dict(duckdb.sql(f"select reason, count(*) from '{output.rejected}' group by reason").fetchall())
    counts = output.manifest.counts
    assert reasons
    assert reasons["video_end"] > 0
    assert reasons == {
        reason: counts[f"rejected_{reason}"]
        for reason in TRACK_REASONS
        if counts[f"rejected_{reason}"] and reason != "duplicate"  # those were never followed
    }
    rows = duckdb.sql(
        f"select end_frame - start_frame + 1, len(boxes), len(seconds), len(errors_px) + 1 from '{output.rejected}'"
    ).fetchall()
    assert all(len(set(row)) == 1 for row in rows)
    columns = [row[0] for row in duckdb.sql(f"describe select * from '{output.rejected}'").fetchall()]
    assert not [name for name in columns if name.endswith("_jpeg")]
    both = duckdb.sql(f"select count(*) from '{output.tracks}' join '{output.rejected}' using (track)").fetchall()
    assert both == [(0,)], "a track is one or the other"


def test_crops_show_what_the_boxes_hold(output: Output) -> None:
    rows = duckdb.sql(f"select boxes, start_frame, end_frame, anchor_jpeg, positive_jpeg from '{output.tracks}'")
    for boxes, start, end, anchor, positive in rows.fetchall():
        for (x, y, width, height), frame, jpeg in ((boxes[0], start, anchor), (boxes[-1], end, positive)):
            crop = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
            side = crop.shape[0]
            assert crop.shape == (side, side)
            assert side == pytest.approx(1.5 * width, abs=1)
            inner = Box(side / 6, side / 6, side * 2 / 3, side * 2 / 3)
            whole = np.pad(output.frames[frame][:, :, 0], 200, mode="reflect")
            (expected,) = appearance_patches(whole, [Box(x + 200, y + 200, width, height)])
            (seen,) = appearance_patches(crop, [inner])
            assert correlation(expected, seen) > 0.97
