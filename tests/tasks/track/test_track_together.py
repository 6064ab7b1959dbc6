"""Groups of videos in one process: each its own unit, as if it were tracked alone, and none spoils another."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from storage.manifests import read_manifest, video_path
from storage.root import Root, open_root
from tasks.batch import Unit, run_batch
from tasks.pool import Call, WorkerPool
from tasks.track.config import TrackConfig
from tasks.track.key import key_document
from tests.tasks.track.conftest import WriteVideo, crossing_squares, moving_square

KLT = TrackConfig(estimator="klt")


@pytest.fixture
def units(write_video: WriteVideo, tmp_path: Path) -> tuple[Root, list[Unit]]:
    """Two videos with tracks and one that is no video, as one group."""
    root = open_root(str(tmp_path / "root"))
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    paths = [write_video("one.mp4", moving_square(48)), broken, write_video("two.mp4", crossing_squares(48))]
    made = []
    for path in paths:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        root.upload(path, video_path(sha256))
        made.append(
            Unit(
                sha256,
                key_document(KLT, sha256),
                "tasks.track.video:track_video",
                (sha256, KLT),
                group_work="tasks.track.video:track_videos",
                group_size=3,
            )
        )
    return root, made


def digests(root: Root, unit: Unit) -> dict[str, str]:
    manifest = read_manifest(root, "track", unit.key)
    assert manifest is not None
    return {name: file.sha256 for name, file in manifest.files.items()}


def test_a_group_gives_every_video_what_it_has_alone(units: tuple[Root, list[Unit]], tmp_path: Path) -> None:
    root, group = units
    with WorkerPool(1) as pool:
        outcomes = run_batch(pool, root, group)
        again = run_batch(pool, root, group)
        alone = open_root(str(tmp_path / "alone"))
        for unit in group:
            alone.write_bytes(video_path(unit.item), root.read_bytes(video_path(unit.item)))
        run_batch(pool, alone, [replace(unit, group_size=1) for unit in group])
    assert [bool(outcome.failure) for outcome in outcomes] == [False, True, False]
    assert outcomes[1].failure is not None
    assert outcomes[1].failure.reason == "unreadable"
    assert all(outcomes[place].counts["tracks"] > 0 for place in (0, 2))
    assert [outcome.cached for outcome in again] == [True, False, True]
    for place in (0, 2):
        assert digests(root, group[place]) == digests(alone, group[place])


def test_a_group_whose_worker_dies_is_tried_one_by_one(units: tuple[Root, list[Unit]]) -> None:
    root, group = units

    class Dying(WorkerPool):
        """Kills the process that runs a group."""

        def run(self, calls, take=None):  # type: ignore[no-untyped-def]
            deadly = [Call("os:_exit", (1,)) if call.function.endswith("run_group") else call for call in calls]
            yield from super().run(deadly, take)

    with Dying(1) as pool:
        outcomes = run_batch(pool, root, group)
    assert [bool(outcome.failure) for outcome in outcomes] == [False, True, False]
    assert not any(outcome.pending for outcome in outcomes)
