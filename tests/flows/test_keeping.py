"""What runs keep, drop and share: budgets, retention, a growing list, and two runs of one data set at once."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from flows.plan import StageFailed
from storage.fsck import check
from storage.manifests import read_manifest, video_path
from storage.root import Root, open_root
from storage.versions import Version, latest_version, unit_keys
from tasks.batch import Outcome, Unit, run_unit
from tasks.download.loopback import serve_folder
from tests.flows.conftest import prefect_environment

Tritrack = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def folder(clips: Path, tmp_path: Path) -> Path:
    """Three of the clips, in a folder of the test's own."""
    target = tmp_path / "clips"
    target.mkdir()
    for clip in sorted(clips.glob("*.mp4"))[:3]:
        shutil.copy2(clip, target)
    return target


@pytest.fixture
def small() -> dict[str, Any]:
    """Form fields that let the small clips give tracks."""
    return {"track_patch_px": 40, "track_working_height_px": 120, "track_gap_frames": 12}


def _version(root: Path) -> Version:
    return latest_version(open_root(str(root)), "default")


def _names_every_unit(root: Path) -> bool:
    opened = open_root(str(root))
    return all(read_manifest(opened, stage, key) for stage, key in unit_keys(_version(root)))


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize("setting", [{"download_budget_bytes": 1}, {"download_min_free_bytes": 10**18}])
def test_a_budget_that_runs_out_stops_intake_cleanly(setting: dict[str, int], folder: Path, tmp_path: Path) -> None:
    from flows.download import download

    root = tmp_path / "root"
    where: dict[str, Any] = {"root": str(root), "sources": str(folder), "download_connections": 1}
    stopped = download(**where, **setting)
    first = _version(root)
    kept = {source: entry for source, entry in first.sources.items() if entry.video}
    assert len(kept) == stopped["committed"] == (1 if "download_budget_bytes" in setting else 0)
    assert stopped["pending"] == 3 - stopped["committed"]
    assert "left for later" in stopped["note"]
    assert not any(entry.failure for entry in first.sources.values()), "what was not tried has not failed"
    again = download(**where)
    assert (again["committed"], again["pending"]) == (stopped["pending"], 0)
    assert kept.items() <= _version(root).sources.items(), "what was committed is kept"
    assert _names_every_unit(root)


@pytest.mark.usefixtures("harness")
def test_a_full_disk_ends_a_later_stage_in_one_line_and_keeps_what_is_committed(
    folder: Path, small: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.download import download
    from flows.shard import shard
    from flows.track import track

    root = tmp_path / "root"
    download(root=str(root), sources=str(folder))
    full = "no space left (/somewhere); free some and run again, all that is committed is kept"

    def two_then_full(pool: object, root: Root, units: Sequence[Unit], *_: object) -> list[Outcome]:
        """The first unit is made, then the disk is full."""
        made = [run_unit(root, unit) for unit in units[:1]]
        return made + [Outcome(unit.item, unit.key, pending=full) for unit in units[1:]]

    with monkeypatch.context() as patch:
        patch.setattr("tasks.track.task.run_batch", two_then_full)
        with pytest.raises(StageFailed, match="track: 2 left for later: no space left"):
            track(root=str(root), **small)
    assert len(_version(root).videos) == 1
    assert track(root=str(root), **small)["committed"] == 2
    with monkeypatch.context() as patch:
        patch.setattr("tasks.shard.task.run_batch", two_then_full)
        with pytest.raises(StageFailed, match="shard: 1 left for later: no space left"):
            shard(root=str(root))
    assert _version(root).shards == (), "no shard is named before it is there"
    done = shard(root=str(root))
    assert (done["committed"], done["cached"]) == (2, 1), "the shard that was made is found"
    assert _names_every_unit(root)


@pytest.mark.usefixtures("harness")
def test_raw_videos_are_dropped_once_tracked_and_fetched_again_where_needed(
    folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    from flows.download import download
    from flows.track import track

    root = tmp_path / "root"
    fetch = {"root": str(root), "sources": str(folder)}
    follow = {"root": str(root), "execution_keep_videos": "until_tracked", **small}
    download(**fetch)
    track(**follow)
    tracked = _version(root)
    assert all(entry.dropped for entry in tracked.videos.values())
    assert not any((root / video_path(video)).exists() for video in tracked.videos)
    assert not check(open_root(str(root))).broken, "what was dropped on purpose is not missing"
    assert download(**fetch)["committed"] == 0
    assert track(**follow)["committed"] == 0

    waiting = track(**follow, track_fb_threshold_px=0.9)
    assert (waiting["committed"], waiting["wanting"]) == (0, 3)
    assert "must be fetched again" in waiting["note"]
    assert download(**fetch)["committed"] == 3
    assert track(**follow, track_fb_threshold_px=0.9)["committed"] == 3
    version = _version(root)
    assert set(version.videos) == set(tracked.videos)
    assert all(version.videos[video].key != tracked.videos[video].key for video in version.videos)
    assert not any((root / video_path(video)).exists() for video in version.videos)


@pytest.mark.usefixtures("harness")
def test_a_data_set_that_comes_later_fetches_what_another_dropped(
    folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    from flows.download import download
    from flows.track import track

    root = tmp_path / "root"
    download(root=str(root), sources=str(folder))
    track(root=str(root), execution_keep_videos="until_tracked", **small)
    assert list(root.glob("videos/*/*")) == []
    assert download(root=str(root), dataset="other", sources=str(folder))["committed"] == 3
    assert track(root=str(root), dataset="other", **small, track_fb_threshold_px=0.9)["committed"] == 3
    assert not check(open_root(str(root))).broken


@pytest.mark.usefixtures("harness")
def test_a_dropped_video_whose_source_gives_other_bytes_now_is_told_and_never_mixed(
    clips: Path, folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    from flows.download import download
    from flows.track import track

    site = tmp_path / "site"
    site.mkdir()
    first, second = sorted(clips.glob("*.mp4"))[:2]
    shutil.copy(first, site / "clip.mp4")
    root = tmp_path / "root"
    with serve_folder(site) as address:
        fetch = {"root": str(root), "sources": f"{address}/clip.mp4", "download_allow_hosts": ["127.0.0.1"]}
        download(**fetch)
        follow = {"root": str(root), "execution_keep_videos": "until_tracked", **small}
        track(**follow)
        shutil.copy(second, site / "clip.mp4")
        assert track(**follow, track_fb_threshold_px=0.9)["wanting"] == 1
        again = download(**fetch)
    assert (again["committed"], again["failed"]) == (0, 1)
    (entry,) = _version(root).sources.values()
    assert entry.failure is not None
    assert (entry.failure.kind, entry.failure.reason) == ("permanent", "other_bytes")
    later = track(**follow, track_fb_threshold_px=0.9)
    assert (later["committed"], later["wanting"], later["failed"]) == (0, 0, 1)


@pytest.mark.usefixtures("harness")
def test_another_data_set_that_has_yet_to_track_a_video_keeps_its_bytes(
    folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    from flows.download import download
    from flows.track import track

    root = tmp_path / "root"
    for dataset in ("default", "other"):
        download(root=str(root), dataset=dataset, sources=str(folder))
    follow = {"root": str(root), "execution_keep_videos": "until_tracked", **small}
    track(**follow)
    assert all((root / video_path(video)).exists() for video in _version(root).videos)
    track(**follow, dataset="other")
    assert not any((root / video_path(video)).exists() for video in _version(root).videos)


@pytest.mark.usefixtures("harness")
def test_one_video_under_two_sources_is_stored_and_tracked_once(
    folder: Path, small: dict[str, Any], tmp_path: Path
) -> None:
    from flows.download import download
    from flows.track import track

    shutil.copy(sorted(folder.iterdir())[0], folder / "again.mp4")
    root = tmp_path / "root"
    download(root=str(root), sources=str(folder))
    assert track(root=str(root), **small)["committed"] == 3
    version = _version(root)
    assert len(version.sources) == 4
    assert len(version.videos) == 3
    assert len(list((root / "videos").glob("*/*"))) == len(list((root / "track").iterdir())) == 3


@pytest.mark.usefixtures("harness")
def test_a_source_that_its_folder_does_not_hold_any_more_is_retired(folder: Path, tmp_path: Path) -> None:
    from flows.download import download

    root = tmp_path / "root"
    download(root=str(root), sources=str(folder))
    gone = sorted(folder.iterdir())[0]
    gone.unlink()
    download(root=str(root), sources=str(folder))
    (entry,) = (entry for entry in _version(root).sources.values() if entry.removed)
    assert entry.location == str(gone)
    assert entry.video is not None, "a tombstone, not a hole"
    for left in folder.iterdir():
        left.unlink()
    with pytest.raises(ValueError, match="names no source"):
        download(root=str(root), sources=str(folder))


@pytest.mark.usefixtures("harness")
def test_a_training_run_names_the_version_that_it_saw(clips: Path, small: dict[str, Any], tmp_path: Path) -> None:
    from flows.download import download
    from flows.shard import shard
    from flows.track import track
    from flows.train import train

    where = {"root": str(tmp_path / "root"), "dataset": "night"}
    download(**where, sources=str(clips))
    track(**where, **small)
    shard(**where)
    train(**where, train_steps=2, train_pairs_per_batch=4, train_input_px=32)
    root = open_root(where["root"])
    manifest = read_manifest(root, "train", latest_version(root, "night").units["train"].key)
    assert manifest is not None
    assert (manifest.facts["dataset"], manifest.facts["version"]) == ("night", 3)


@pytest.mark.slow
def test_two_runs_at_once_end_with_one_correct_set_of_outputs(
    clips: Path, quick: list[str], tmp_path: Path, prefect_home: Path, tritrack: Tritrack
) -> None:
    root = tmp_path / "root"
    command = ["run", "--root", str(root), "--sources", str(clips), *quick]
    runs = []
    for number in range(2):
        home = prefect_home if number == 0 else tmp_path / "prefect"
        with (tmp_path / f"log{number}").open("wb") as log:
            started = [sys.executable, "-m", "flows.cli", *command]
            runs.append(subprocess.Popen(started, env=prefect_environment(home), stdout=log, stderr=log))
    codes = [run.wait(280) for run in runs]
    logs = [(tmp_path / f"log{number}").read_text() for number in range(2)]
    assert codes == [0, 0], "\n".join(logs)
    assert _names_every_unit(root)
    report = check(open_root(str(root)))
    assert report.broken == ()
    assert len(list((root / "train").iterdir())) == 1, "one network was trained"
    assert "Nothing to do" in tritrack(*command).stdout
    assert list(root.glob("state/leases/*")) == []
