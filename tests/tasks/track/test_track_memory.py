"""Memory: a worker on a long video stays small, and does not grow with the video's length."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.track.config import TrackConfig
from tests.bench.longvideo import LIMIT_BYTES, store_long_video, watch

MINUTES = 3.0


@pytest.mark.long
def test_memory_is_bounded_on_a_long_video(tmp_path: Path) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("a process's memory is read from Linux's /proc")
    config = TrackConfig(estimator="klt")
    store_long_video(tmp_path / "root", MINUTES)
    samples = list(watch(tmp_path / "root", config))
    mining = [sample for sample in samples[:-1] if sample.frames]
    assert mining[-1].frames == samples[-1].frames == MINUTES * 60 * 25
    assert max(sample.tracks for sample in samples) > 0.8 * config.max_tracks, "memory is full of tracks"
    assert samples[-1].tracks <= config.max_tracks
    assert samples[-1].peak_bytes < LIMIT_BYTES
    assert mining[-1].peak_bytes - mining[0].peak_bytes < 60e6, "after the first 80 seconds hardly anything is added"
