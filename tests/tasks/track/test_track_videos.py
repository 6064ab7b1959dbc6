"""Videos side by side: each gives what it gives alone, and a bad one leaves the others as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.records import Dropped
from tasks.track.config import TrackConfig
from tasks.track.video import MinedVideo, mine_video, mine_videos
from tests.tasks.track.conftest import WriteVideo, crossing_squares, moving_square

CONFIG = TrackConfig(estimator="klt", gap_frames=10, start_every_frames=3, patch_px=48)


@pytest.fixture
def videos(write_video: WriteVideo) -> list[tuple[Path, str]]:
    """Of several lengths and sizes; one is too short, one is no video, one stops half way."""
    cut = write_video("stops.mp4", moving_square(30), options={"movflags": "+faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 7 // 8])
    broken = cut.with_name("broken.mp4")
    broken.write_bytes(b"no video" * 100)
    paths = [
        write_video("square.mp4", moving_square(26, speed=3)),
        broken,
        write_video("four.mp4", crossing_squares(40)),
        write_video("short.mp4", moving_square(4)),
        cut,
        write_video("small.mp4", [np.ascontiguousarray(frame[::2, ::2]) for frame in moving_square(18)]),
    ]
    return [(path, f"{number:x}" * 64) for number, path in enumerate(paths)]


def alone(path: Path, video: str, config: TrackConfig) -> MinedVideo | Dropped:
    try:
        return mine_video(path, video, config)
    except Dropped as dropped:
        return dropped


def words(mined: Sequence[MinedVideo | Dropped]) -> list[str]:
    """Everything in it; what was not measured (NaN) is equal to itself."""
    return [repr(one) for one in mined]


@pytest.mark.parametrize("estimator", ["klt", "kcf"])
def test_each_video_gives_exactly_what_it_gives_alone(videos: list[tuple[Path, str]], estimator: str) -> None:
    config = CONFIG.model_copy(update={"estimator": estimator, "windows_per_frame": 2})
    together = mine_videos(videos, config)
    assert words(together) == words([alone(path, video, config) for path, video in videos])
    dropped = {number: str(one) for number, one in enumerate(together) if isinstance(one, Dropped)}
    assert set(dropped) == {1, 3}
    assert dropped[1].startswith("unreadable")
    assert dropped[3] == "too_short: 4 frames decode, a track needs 11"
    mined = [one for one in together if isinstance(one, MinedVideo)]
    assert all(one.rows for one in mined)
    assert [one.counts["decode_errors"] for one in mined] == [0, 0, 1, 0]
    for number, one in enumerate(together):
        if isinstance(one, MinedVideo):
            assert {row["video"] for row in one.rows} == {f"{number:x}" * 64}


def test_the_order_of_the_videos_does_not_count(videos: list[tuple[Path, str]]) -> None:
    assert words(mine_videos(videos[::-1], CONFIG)) == words(mine_videos(videos, CONFIG))[::-1]


def test_progress_is_of_all_videos(videos: list[tuple[Path, str]]) -> None:
    told: list[tuple[int, int]] = []
    mined = mine_videos(videos, CONFIG, lambda done, total, note="": told.append((done, total)))
    frames = sum(one.counts["frames"] for one in mined if isinstance(one, MinedVideo)) + 4
    assert told[-1] == (frames, frames)
    assert told == sorted(told, key=lambda entry: entry[0])
    assert all(done <= total for done, total in told)


def test_no_videos_give_nothing() -> None:
    assert mine_videos([], CONFIG) == []


def test_a_file_that_is_missing_is_an_error(videos: list[tuple[Path, str]]) -> None:
    with pytest.raises(FileNotFoundError):
        mine_videos([*videos[:1], (videos[0][0].with_name("absent"), "f" * 64)], CONFIG)
