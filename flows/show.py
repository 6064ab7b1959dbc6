"""`tritrack show`: tracks to look at, as contact sheets and overlay videos in a folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.lookup import FoundTracks, Wanted, find_tracks, open_dataset, sample_tracks, spread
from flows.maintain import dump, progress_bar
from storage.manifests import video_path
from storage.root import Root, RootError
from storage.versions import Version
from tasks.records import Dropped
from tasks.track.drawing import Picture, picture_jpeg, plain
from tasks.track.gates import TRACK_REASONS
from tasks.track.overlay import TrackOverlay, VideoOverlay, VideoWriter
from tasks.track.sheets import (
    DETAIL_PX,
    NUM_BETWEEN,
    STRIP_CONTEXT,
    STRIP_PX,
    TILE_PX,
    WIDE_CONTEXT,
    track_sheet,
    tracks_sheet,
)
from tasks.track.shown import Looker, watch
from tasks.track.strips import StoryLooker, StripLooker, frames_between, frames_of_strip
from tasks.track.video import local_video

SHEET_TRACKS = 24
_DROPPED = "the bytes were dropped once they were tracked (execution.keep_videos = until_tracked)"

Progress = Callable[[int, int, str], None]


@dataclass
class Showing:
    """What is shown and where; the files that were written, and what could not be shown and why."""

    root: Root
    out: Path
    wanted: Wanted
    limit: int | None
    progress: Progress
    files: list[Path] = field(default_factory=list)
    lacking: dict[str, list[str]] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """What could not be shown, and of which videos, a line each."""
        return [f"{_named(videos)}: {what}" for what, videos in self.lacking.items()]

    def path(self, stem: str, ending: str) -> Path:
        """A file of the folder; `stem` is a digest, a track or a data set with its version."""
        return self.out / f"{stem}{self.wanted.suffix}{ending}"

    def lack(self, one: FoundTracks, what: str) -> None:
        self.lacking.setdefault(what, []).append(one.video[:16])

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self.files.append(path)


def show(
    url: str,
    dataset: str,
    names: Sequence[str],
    out: Path,
    console: Console,
    *,
    rejected: bool = False,
    reason: str = "",
    limit: int | None = None,
    as_json: bool = False,
) -> None:
    """Show a sample of a data set's tracks, or those that are named, each by track, video or its source's location.

    Raises RootError or ValueError, in one line, before anything is drawn, for a name that fits nothing or several.
    """
    if reason and reason not in TRACK_REASONS:
        raise ValueError(f"show: {reason!r} is no reason of a rejected track; there are: {', '.join(TRACK_REASONS)}")
    root, version = open_dataset(url, dataset)
    wanted = Wanted(rejected or bool(reason), reason)
    named = [find_tracks(root, version, name, wanted, limit) for name in names]
    sample = [] if names else sample_tracks(root, version, wanted, limit or SHEET_TRACKS)
    if not any(one.tracks for one in (*named, *sample)):
        where = ", ".join(one.video[:16] for one in named) or f"data set {version.name}"
        remedy = "--rejected alone shows those of any reason" if reason else "tritrack status tells what there is"
        raise RootError(f"show: {where} has no {wanted.words}; {remedy}")
    _make_folder(out)
    with progress_bar("drawing") as progress:
        showing = Showing(root, out, wanted, limit, progress)
        if sample:
            _show_sample(showing, version, sample)
        for one in named:
            (_show_track if one.is_one else _show_video)(showing, one)
    if not showing.files:
        raise RootError(f"show: nothing to draw; {'; '.join(showing.notes)}")
    if as_json:
        dump({"files": [str(path) for path in showing.files], "notes": showing.notes})
        return
    for note in showing.notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    for path in showing.files:
        console.print(escape(str(path)), soft_wrap=True, highlight=False)


def _show_sample(showing: Showing, version: Version, sample: Sequence[FoundTracks]) -> None:
    """One sheet of tracks of many videos, after a pass over each of these."""
    pictures: dict[tuple[str, int], Picture] = {}
    for place, one in enumerate(sample):
        showing.progress(place, len(sample), one.video[:16])
        strips = _strips(one)
        if _has_bytes(showing, one, "no frames between its crops"):
            _watch(showing, one, [strips])
        pictures |= strips.pictures
    tracks = [
        track for one in sample for track in one.tracks if track.crops or (track.name, track.frames[0]) in pictures
    ]
    if tracks:
        title = (
            f"{version.name}, version {version.number}: {len(tracks)} {showing.wanted.words} of {len(sample)} videos"
        )
        sheet = picture_jpeg(tracks_sheet(title, tracks, pictures))
        showing.write(showing.path(f"{version.name}-{version.number}", ".jpg"), sheet)


def _show_video(showing: Showing, one: FoundTracks) -> None:
    """All tracks of a video on its frames, and a sheet of them, in one pass."""
    if not one.tracks:
        showing.lack(one, f"no {showing.wanted.words}")
        return
    on_sheet = replace(one, tracks=spread(one.tracks, showing.limit or SHEET_TRACKS))
    strips = _strips(on_sheet)
    if _has_bytes(showing, one, "no overlay video"):
        path = showing.path(one.video[:16], ".mp4")
        with VideoWriter(path) as writer:
            _watch(showing, one, [VideoOverlay(writer, one.tracks), strips])
        showing.files.append(path)
    elif showing.wanted.rejected:
        return  # there are no crops of them either
    title = (
        f"{one.video[:16]}: {len(on_sheet.tracks)} of its {one.total} {showing.wanted.words}   {plain(one.location)}"
    )
    sheet = picture_jpeg(tracks_sheet(title, on_sheet.tracks, strips.pictures))
    showing.write(showing.path(one.video[:16], ".jpg"), sheet)


def _show_track(showing: Showing, one: FoundTracks) -> None:
    """One track's overlay video, sheet and crops, in one pass up to its end."""
    (track,) = one.tracks
    strip = StripLooker([(track, frames_of_strip(track))], WIDE_CONTEXT, STRIP_PX, reflected=False)
    story = StoryLooker(track, one.working_height_px, DETAIL_PX)
    if _has_bytes(showing, one, "no overlay video"):
        path = showing.path(track.name, ".mp4")
        with VideoWriter(path) as writer:
            _watch(showing, one, [TrackOverlay(writer, track), strip, story])
        showing.files.append(path)
    elif not track.crops:
        return
    sheet = track_sheet(track, strip.pictures, [*story.ends.values()], story.likeness, plain(one.location))
    showing.write(showing.path(track.name, ".jpg"), picture_jpeg(sheet))
    for what, jpeg in zip(("anchor", "positive"), track.crops or (), strict=False):
        showing.write(showing.path(track.name, f"-{what}.jpg"), jpeg)


def _strips(one: FoundTracks) -> StripLooker:
    """The frames between the crops; where there are no crops, the ends too."""
    wanted = []
    for track in one.tracks:
        ends = [] if track.crops else [track.frames[0], track.frames[-1]]
        wanted.append((track, sorted({*ends, *frames_between(track, NUM_BETWEEN)})))
    return StripLooker(wanted, STRIP_CONTEXT, TILE_PX)


def _has_bytes(showing: Showing, one: FoundTracks, lacking: str) -> bool:
    """Whether the root holds the video; notes what is `lacking` where it was dropped, and raises RootError where it
    is lost."""
    if showing.root.exists(video_path(one.video)):
        return True
    if not one.dropped:
        raise RootError(f"show: video {one.video[:16]} is not in {showing.root.url}; run tritrack fsck --repair")
    showing.lack(one, f"{lacking}, {_DROPPED}")
    return False


def _watch(showing: Showing, one: FoundTracks, lookers: Sequence[Looker]) -> None:
    def progress(done: int, total: int, note: str = "") -> None:
        showing.progress(done, total, note or one.video[:16])

    try:
        with local_video(showing.root, one.video) as path:
            watch(path, lookers, progress)
    except Dropped as dropped:
        raise RootError(f"show: video {one.video[:16]} does not decode ({dropped}); run tritrack fsck") from dropped


def _named(videos: Sequence[str]) -> str:
    return videos[0] if len(videos) == 1 else f"{len(videos)} videos ({videos[0]}, ...)"


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ValueError(f"out: {str(out)!r} cannot be a folder ({os.strerror(error.errno or 0)})") from error
