"""The key: what changes a video's tracks, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from storage.keys import KeyDocument
from tasks.track.config import TrackConfig
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS
from tasks.track.key import key_document, recipe
from tasks.track.raft_weights import WEIGHTS_VARIABLE

VIDEO = "ab" * 32
CHANGES: dict[str, Any] = {
    "estimator": "dis",
    "working_height_px": 480,
    "patch_px": 64,
    "window_scales": (1.0,),
    "centre_windows": False,
    "gap_frames": 29,
    "gap_seconds": 1.0,
    "start_every_frames": 7,
    "windows_per_frame": 1,
    "moving_threshold_px": 1.0,
    "min_moving_share": 0.25,
    "max_moving_share": 0.75,
    "min_confidence": 0.5,
    "fb_threshold_px": 0.25,
    "min_agreement": 0.2,
    "min_ncc": 0.5,
    "min_visible_share": 0.9,
    "cut_threshold": 0.5,
    "duplicate_frames": 0,
    "max_tracks": 7,
}


def document(**fields: Any) -> KeyDocument:
    return key_document(TrackConfig(**{"estimator": "klt", **fields}), VIDEO)


@pytest.mark.parametrize("name", CHANGES)
def test_what_changes_the_tracks_changes_the_key(name: str) -> None:
    assert document().key != document(**{name: CHANGES[name]}).key


def test_every_parameter_is_inside_the_key_or_outside_it() -> None:
    assert {*CHANGES, "min_kept_share"} == set(TrackConfig.model_fields)


def test_the_floor_is_outside_the_key_and_the_video_inside() -> None:
    found = document()
    assert found.key == document(min_kept_share=0.5).key
    assert found.key != key_document(TrackConfig(estimator="klt"), "cd" * 32).key
    assert found.stage == "track"
    assert found.inputs == {"video": VIDEO}
    assert found.recipe.variant == {"estimator": "klt"}
    assert "estimator" not in found.recipe.parameters
    assert set(found.recipe.libraries) == {"av", "opencv-contrib-python-headless"}


@pytest.mark.parametrize("name", sorted({*ESTIMATORS, *BOX_TRACKERS} - {"raft"}))
def test_a_variants_own_module_enters_and_no_others(name: str) -> None:
    code = document(estimator=name).recipe.code
    modules = {module.rpartition(".")[2] for module in code if module.startswith("tasks.track.estimators.")}
    assert name in modules
    assert modules - {name} <= {"klt", "opencl", "dis", "farneback"}, "what it is built on"
    assert ("torch" in document(estimator=name).recipe.libraries) == (name == "torch")


def test_rafts_weights_are_part_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    keys = set()
    for content in (b"one", b"other"):
        weights = tmp_path_factory.mktemp("weights") / "raft.pth"
        weights.write_bytes(content)
        monkeypatch.setenv(WEIGHTS_VARIABLE, str(weights))
        recipe.cache_clear()
        found = document(estimator="raft")
        keys.add(found.key)
        assert len(found.recipe.variant["weights"]) == 64
    assert len(keys) == 2
    monkeypatch.delenv(WEIGHTS_VARIABLE)
    recipe.cache_clear()
    with pytest.raises(ValueError, match=WEIGHTS_VARIABLE):
        document(estimator="raft")


def test_the_automatic_choice_is_made_before_a_key() -> None:
    assert TrackConfig().estimator == "auto"
    with pytest.raises(AssertionError, match="chosen before"):
        recipe(TrackConfig())


def test_planning_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tasks.track.key import key_document; from tasks.track.config import TrackConfig;"
        f"[key_document(TrackConfig(estimator=name), {VIDEO!r}) for name in ('klt', 'torch', 'csrt')];"
        "print(sorted({'cv2', 'av', 'numpy', 'torch', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
