"""`tritrack show`: what is found for a name, which files are written, and what is told where something is missing."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import av
import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from storage.manifests import commit, video_path
from storage.root import Root, RootError, open_root
from storage.tables import table_bytes
from storage.versions import Failure, SourceEntry, Version, VideoEntry, update_version
from tasks.download.sources import source_at
from tasks.records import REJECTED_SCHEMA, TRACK_SCHEMA
from tasks.track.config import TrackConfig
from tasks.track.key import key_document
from tests.tasks.track.track_rows import rejected_row, track_row

Show = Callable[..., Result]
CONFIG = TrackConfig(estimator="klt", working_height_px=120)
EVIL = "https://videos.example/..%2f..%2fetc?x=\u202e\u4e2d"


@pytest.fixture(scope="module")
def filled(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A root's folder with tracks of two videos, and the videos' digests. Its third video could not be tracked, its
    fourth is not tracked yet."""
    folder = tmp_path_factory.mktemp("filled")
    root = open_root(str(folder))
    paths = sorted(clips.glob("*.mp4"))[:4]
    videos = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    for video, path in zip(videos, paths, strict=True):
        root.write_bytes(video_path(video), path.read_bytes())
    locations = [EVIL, str(paths[1]), *(f"https://videos.example/{number}" for number in range(2))]
    entries = {
        videos[0]: store_tracks(root, videos[0], [(1, 0), (1, 1), (7, 0)], [(3, "occlusion"), (9, "unsure")]),
        videos[1]: store_tracks(root, videos[1], [(0, 0)], []),
        videos[2]: VideoEntry("", failure=Failure("track", "poison", "too_short", "9 frames decode\n\x1b[31mtoo few")),
    }
    sources = {
        source_at(location).id: SourceEntry(location, "0" * 64, video=video)
        for location, video in zip(locations, videos, strict=True)
    }
    update_version(root, "default", lambda version: replace(version, sources=sources, videos=entries))
    return folder, videos


def store_tracks(
    root: Root,
    video: str,
    tracks: Sequence[tuple[int, int]],
    rejected: Sequence[tuple[int, str]],
    schema: pa.Schema = TRACK_SCHEMA,
) -> VideoEntry:
    """Commit a track unit by the start frames and numbers of its tracks, and start frames and reasons of others."""
    document = key_document(CONFIG, video)
    size = {"frame_width": 160, "frame_height": 120}
    rows = [track_row(video, start, number, **size) for start, number in tracks]
    others = [rejected_row(video, start, reason=reason, **size) for start, reason in rejected]
    known = [{name: row[name] for name in schema.names} for row in rows]
    files = {
        "tracks.parquet": table_bytes(known, schema),
        "rejected.parquet": table_bytes(others, REJECTED_SCHEMA),
    }
    commit(root, document, files, counts={"tracks": len(rows)})
    return VideoEntry(document.key, tracks=len(rows))


@pytest.fixture
def root(filled: tuple[Path, list[str]], tmp_path: Path) -> Root:
    """A copy of it that the test may change."""
    shutil.copytree(filled[0], tmp_path / "root")
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def videos(filled: tuple[Path, list[str]]) -> list[str]:
    return filled[1]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def show(root: Root, out: Path) -> Show:
    return lambda *arguments: CliRunner().invoke(app, ["show", *arguments, "--root", root.url, "--out", str(out)])


def written(out: Path) -> set[str]:
    return {str(path.relative_to(out)) for path in out.rglob("*")} if out.exists() else set()


def change_videos(root: Root, change: Callable[[str, VideoEntry], VideoEntry]) -> None:
    def changed(version: Version) -> Version:
        return replace(version, videos={name: change(name, entry) for name, entry in version.videos.items()})

    update_version(root, "default", changed)


def test_a_sample_of_all_is_one_sheet_the_same_each_time(show: Show, out: Path) -> None:
    told = show()
    assert told.exit_code == 0, told.output
    assert told.output.split() == [str(out / "default-1.jpg")]
    assert written(out) == {"default-1.jpg"}
    first = (out / "default-1.jpg").read_bytes()
    assert show().exit_code == 0
    assert (out / "default-1.jpg").read_bytes() == first
    assert show("-n", "1").exit_code == 0
    assert len((out / "default-1.jpg").read_bytes()) < len(first)


def test_a_video_is_named_by_digits_or_by_its_source(show: Show, out: Path, videos: list[str]) -> None:
    stem = videos[0][:16]
    for name in (videos[0][:8], videos[0], EVIL):
        told = show(name, "--json")
        assert told.exit_code == 0, told.output
        assert json.loads(told.output) == {
            "files": [str(out / f"{stem}.mp4"), str(out / f"{stem}.jpg")],
            "notes": [],
        }
        assert written(out) == {f"{stem}.mp4", f"{stem}.jpg"}, "no file name comes from outside"
    with av.open(str(out / f"{stem}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 48


def test_a_local_file_names_its_video(show: Show, out: Path, clips: Path, videos: list[str]) -> None:
    assert show(str(sorted(clips.glob("*.mp4"))[1])).exit_code == 0
    assert written(out) == {f"{videos[1][:16]}.mp4", f"{videos[1][:16]}.jpg"}


def test_a_track_gives_its_video_its_sheet_and_its_crops(show: Show, out: Path, videos: list[str]) -> None:
    track = f"{videos[0][:16]}-7-0"
    for name in (track, f"{videos[0][:6]}-7"):
        told = show(name)
        assert told.exit_code == 0, told.output
        assert written(out) == {f"{track}{end}" for end in (".mp4", ".jpg", "-anchor.jpg", "-positive.jpg")}
    row = track_row(videos[0], 7, 0)
    assert (out / f"{track}-anchor.jpg").read_bytes() == row["anchor_jpeg"]
    assert (out / f"{track}-positive.jpg").read_bytes() == row["positive_jpeg"]
    with av.open(str(out / f"{track}.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 7 + 21 + 10


def test_rejected_tracks_are_shown_by_reason(show: Show, out: Path, videos: list[str]) -> None:
    assert show("--rejected").exit_code == 0
    assert written(out) == {"default-1-rejected.jpg"}
    assert show("--reason", "occlusion", videos[0][:8]).exit_code == 0
    stem = f"{videos[0][:16]}-rejected-occlusion"
    assert written(out) == {"default-1-rejected.jpg", f"{stem}.mp4", f"{stem}.jpg"}
    told = show("--rejected", f"{videos[0][:16]}-9-1")
    assert told.exit_code == 0, told.output
    assert f"{videos[0][:16]}-9-1-rejected.jpg" in written(out)


UNFIT: Mapping[str, tuple[list[str], str]] = {
    "unknown digits": (["0123456789ab"], "names no video"),
    "unknown URL": (["https://videos.example/none"], "names no video"),
    "control characters": (["../x\x1b[31m"], r"names no video"),
    "nothing there": (["<0>-40-1"], r"nearest of 3: <0>-7-0, <0>-1-0, <0>-1-1 \(--rejected looks"),
    "several tracks": (["<0>-1"], "names 2 tracks: <0>-1-0, <0>-1-1; give one of them"),
    "not among the rejected": (["<0>-7-0", "--rejected"], "none of the rejected tracks"),
    "failed": (["<2>"], "could not be tracked: too_short, 9 frames"),
    "not tracked yet": (["<3>"], "has no tracks yet; run tritrack track"),
    "no such reason": (["--reason", "boredom"], "there are: duplicate, lost, "),
    "none of the reason": (["--reason", "lost"], "default has no rejected tracks for lost; --rejected alone"),
    "no such data set": (["-d", "other"], "there are: default"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_cannot_be_shown_is_told_in_a_line_and_nothing_is_drawn(
    case: str, show: Show, out: Path, videos: list[str]
) -> None:
    arguments, words = UNFIT[case]

    def filled_in(text: str) -> str:
        for place, video in enumerate(videos):
            text = text.replace(f"<{place}>", video[:16])
        return text

    told = show(*map(filled_in, arguments))
    assert isinstance(told.exception, ValueError)  # the entry point tells it, with exit code 2
    assert "\n" not in str(told.exception)
    with pytest.raises(ValueError, match=filled_in(words)):
        raise told.exception
    assert written(out) == set()


def test_an_ambiguous_prefix_is_told(show: Show, root: Root, videos: list[str]) -> None:
    twin = videos[0][:8] + "f" * 56
    entry = store_tracks(root, twin, [(1, 0)], [])
    update_version(root, "default", lambda version: replace(version, videos={**version.videos, twin: entry}))
    with pytest.raises(RootError, match=r"names 2 videos: .*; give one of them"):
        raise show(videos[0][:8]).exception or AssertionError
    with pytest.raises(RootError, match="names 2 videos"):
        raise show(f"{videos[0][:8]}-1-0").exception or AssertionError


def test_dropped_bytes_leave_the_sheets(show: Show, root: Root, out: Path, videos: list[str]) -> None:
    change_videos(root, lambda _, entry: replace(entry, dropped=True))
    root.remove_many([video_path(video) for video in videos])
    told = show()
    assert told.exit_code == 0, told.output
    assert "2 videos" in told.output
    assert "keep_videos" in told.output
    track = f"{videos[0][:16]}-1-1"
    told = show(videos[0][:8], track)
    assert told.exit_code == 0, told.output
    assert told.output.count("no overlay video") == 1, "of both, in a line"
    names = {f"{videos[0][:16]}.jpg", *(f"{track}{end}" for end in (".jpg", "-anchor.jpg", "-positive.jpg"))}
    assert written(out) == {"default-2.jpg", *names}
    with pytest.raises(RootError, match=r"nothing to draw; .*keep_videos"):
        raise show("--rejected").exception or AssertionError


def test_lost_bytes_and_old_units_are_errors_with_a_remedy(show: Show, root: Root, videos: list[str]) -> None:
    root.remove_many([video_path(videos[0])])
    with pytest.raises(RootError, match="run tritrack fsck --repair"):
        raise show(videos[0]).exception or AssertionError
    folder = f"track/{key_document(CONFIG, videos[1]).key}"
    root.remove_many([entry.path for entry in root.walk(folder)])
    old = pa.schema([column for column in TRACK_SCHEMA if column.name not in {"agreement", "jolts_px"}])
    store_tracks(root, videos[1], [(0, 0)], [], schema=old)
    with pytest.raises(RootError, match=r"older Tritrack.*run tritrack track"):
        raise show(videos[1]).exception or AssertionError


def test_a_file_in_the_way_of_the_folder_is_told(show: Show, out: Path) -> None:
    out.write_text("mine")
    with pytest.raises(ValueError, match="cannot be a folder"):
        raise show().exception or AssertionError
    assert out.read_text() == "mine"
