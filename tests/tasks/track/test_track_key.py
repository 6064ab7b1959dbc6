"""The key: what changes a video's tracks, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tasks.track.config import TrackConfig
from tasks.track.key import key_document

VIDEO = "ab" * 32


@pytest.mark.parametrize(
    "change",
    [{"estimator": "dis"}, {"patch_px": 64}, {"gap_frames": 29}, {"fb_threshold_px": 0.25}, {"duplicate_frames": 0}],
)
def test_what_changes_the_tracks_changes_the_key(change: dict[str, object]) -> None:
    assert key_document(TrackConfig(), VIDEO).key != key_document(TrackConfig(**change), VIDEO).key  # type: ignore[arg-type]


def test_the_floor_is_outside_the_key_and_the_video_inside() -> None:
    document = key_document(TrackConfig(), VIDEO)
    assert document.key == key_document(TrackConfig(min_kept_share=0.5), VIDEO).key
    assert document.key != key_document(TrackConfig(), "cd" * 32).key
    assert document.stage == "track"
    assert document.inputs == {"video": VIDEO}
    assert document.recipe.variant == {"estimator": "klt"}
    assert set(document.recipe.libraries) == {"av", "opencv-contrib-python-headless"}


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tasks.track.key import key_document; from tasks.track.config import TrackConfig;"
        f"key_document(TrackConfig(), {VIDEO!r});"
        "print(sorted({'cv2', 'av', 'numpy', 'torch', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
