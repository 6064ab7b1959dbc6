"""The audit: what it commits, for trackers of which it is known how wrong they are."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from storage.root import Root, open_root
from storage.tables import read_table
from tasks.noise import noise_from_json
from tasks.records import AUDIT_SCHEMA
from tasks.track import audit
from tasks.track.audit import audit_tracker, audit_world
from tasks.track.audit_key import audit_document
from tasks.track.config import TrackConfig
from tasks.track.video import MinedVideo
from tasks.world.config import hard_world
from tasks.world.render import render_video

CONFIG = TrackConfig(estimator="klt", gap_frames=8)
WORLD = replace(hard_world(20), width=96, height=64, cut_probability=0.0)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def perfect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small world, and a tracker that knows the truth of every second solid; the others it leaves behind."""

    def mine(path: Path, video: str, config: TrackConfig, *_: object, **__: object) -> MinedVideo:
        assert path.stat().st_size > 0, "a video was drawn"
        rows = []
        frames = list(render_video(WORLD, 1_000_003, int(path.stem), truth=False))[2 : 3 + config.gap_frames]
        for number, thing in enumerate(frames[0].objects):
            path_of = [frame.objects[number].full_box for frame in frames]
            boxes = path_of if number % 2 else [path_of[0], *[(-500.0, 0.0, 9.0, 9.0)] * config.gap_frames]
            rows.append({"track": f"{video}-{thing.object}", "start_frame": 2, "boxes": boxes})
        counts = {"frames": 20, "windows": 14, "rejected_duplicate": 2, "rejected_video_end": 2, "tracks": len(rows)}
        given_up = {**rows[1], "boxes": rows[1]["boxes"][:3], "reason": "forward_backward"}
        return MinedVideo(rows=rows, rejected=[given_up], counts=counts, facts={})  # type: ignore[arg-type,list-item]

    monkeypatch.setattr(audit, "mine_video", mine)
    monkeypatch.setattr(audit, "audit_world", lambda config: WORLD)


def test_an_audit_finds_what_was_put_in(root: Root, perfect: None) -> None:
    told: list[tuple[int, int]] = []
    manifest = audit_tracker(
        root,
        CONFIG,
        3,
        3,
        audit_document(CONFIG, 3, 3),
        progress=lambda done, total, note="": told.append((done, total)),
    )
    assert manifest.stage == "audit"
    table = read_table(root, manifest.files["audit.parquet"])
    assert table.schema.equals(AUDIT_SCHEMA)
    rows = table.to_pylist()
    rejected = [row for row in rows if not row["accepted"]]
    assert [(row["reason"], row["start_frame"], row["end_frame"]) for row in rejected] == [
        ("forward_backward", 2, 4)
    ] * 3
    rows = [row for row in rows if row["accepted"]]
    assert len(rows) == 15
    for row in rows:
        number = int(row["track"].rsplit("-", 1)[1])
        on_its_own = row["object"] == number
        assert (row["start_frame"], row["end_frame"], row["accepted"], row["reason"]) == (2, 10, True, "")
        if on_its_own and row["centre_error_px"] is not None:
            assert (row["iou"] > 0.99) == (number % 2 == 0)
        if number % 2:
            assert not row["right"]
    assert sum(row["right"] for row in rows) >= 3
    noise = noise_from_json(manifest.facts["noise"])
    assert (noise.videos, noise.windows, noise.accepted) == (3, 30, 15)
    possible = [row for row in [*rows, *rejected] if row["possible"]]
    assert noise.possible == len(possible) > 3
    assert noise.found == sum(row["right"] for row in possible if row["accepted"])
    assert noise.right == manifest.counts["right"] == sum(row["right"] for row in rows)
    wrong = {name: count for name, count in manifest.counts.items() if name.startswith("wrong_")}
    assert sum(wrong.values()) == 15 - noise.right
    assert told[0] == (0, 3)
    assert told[-1] == (3, 3)


def test_equal_audits_give_equal_tables_and_one_video_needs_no_other_process(root: Root, perfect: None) -> None:
    first, second = (audit_tracker(root, CONFIG, 3, number, audit_document(CONFIG, 3, number)) for number in (1, 2))
    one, two = (read_table(root, manifest.files["audit.parquet"]).to_pylist() for manifest in (first, second))
    assert [row for row in two if row["video"] == 0] == one


def test_too_few_videos_are_refused(root: Root) -> None:
    with pytest.raises(ValueError, match="0 videos are too few"):
        audit_tracker(root, CONFIG, 0, 0, audit_document(CONFIG, 0, 0))


def test_the_world_fits_the_tracker() -> None:
    assert audit_world(TrackConfig()) == hard_world(100)
    tall = audit_world(TrackConfig(working_height_px=1080, gap_frames=120))
    assert (tall.width, tall.height, tall.num_frames) == (598, 448, 370)
    assert audit_world(TrackConfig(gap_seconds=2.5)).num_frames == 3 * 63 + 10


def test_the_key_follows_the_tracker_the_seed_and_the_number() -> None:
    first = audit_document(CONFIG, 0, 12)
    changed = [
        audit_document(CONFIG.model_copy(update={"patch_px": 64}), 0, 12),
        audit_document(CONFIG.model_copy(update={"estimator": "dis"}), 0, 12),
        audit_document(CONFIG, 1, 12),
        audit_document(CONFIG, 0, 11),
    ]
    assert len({document.key for document in [first, *changed]}) == 5
    assert audit_document(CONFIG.model_copy(update={"min_kept_share": 0.5}), 0, 12).key == first.key
    assert first.stage == "audit"
    assert {"tasks.world.cast", "tasks.track.truth", "tasks.track.video", "tasks.noise"} <= set(first.recipe.code)


def test_planning_an_audit_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tasks.track.audit_key import audit_document; from tasks.track.config import TrackConfig;"
        "audit_document(TrackConfig(estimator='klt'), 0, 12);"
        "print(sorted({'cv2', 'av', 'numpy', 'torch', 'pyarrow'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
