"""Probing: a file that ends inside a frame is told apart from a whole one, wherever its index stands."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tasks.download.probe import probe_video
from tasks.records import Dropped


def _clip(path: Path) -> Path:
    """40 frames of noise with the index at the front, as web videos have it."""
    generator = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(40):
            pixels = generator.integers(0, 255, (64, 96, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_a_whole_file_is_described(tmp_path: Path) -> None:
    facts = probe_video(_clip(tmp_path / "clip.mp4"))
    assert (facts.width, facts.height, facts.fps, facts.duration_seconds) == (96, 64, 25.0, 1.6)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.95])
def test_a_file_that_ends_early_is_poison(tmp_path: Path, share: float) -> None:
    path = _clip(tmp_path / "clip.mp4")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(Dropped) as caught:
        probe_video(path)
    assert (caught.value.kind, caught.value.reason) == ("poison", "truncated")
    assert "ends before its bytes do" in caught.value.words
