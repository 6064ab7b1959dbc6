"""Finding tracks in a root: by name, by video, or a sample of a whole data set. Needs no Prefect."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from flows.maintain import unknown_dataset
from storage.manifests import Manifest, require_manifest
from storage.root import Root, RootError, open_root
from storage.tables import read_table
from storage.versions import Version, VideoEntry, latest_version, reached_videos
from tasks.download.redaction import redact
from tasks.download.sources import source_at
from tasks.records import REJECTED_SCHEMA, TRACK_SCHEMA
from tasks.track.drawing import plain
from tasks.track.rows import PathRow
from tasks.track.shown import ShownTrack, shown_tracks

Table = Literal["tracks.parquet", "rejected.parquet"]

_NAME = re.compile(r"(?P<video>[0-9a-f]{4,16})-(?P<start>\d+)(?:-(?P<number>\d*))?")
_DIGITS = re.compile(r"[0-9a-f]{4,64}")
_MOST_NAMED = 4  # in a message


@dataclass(frozen=True)
class Wanted:
    """Which rows of a track unit: accepted tracks, or rejected ones, for one reason or (empty) any."""

    rejected: bool = False
    reason: str = ""

    @property
    def table(self) -> Table:
        return "rejected.parquet" if self.rejected else "tracks.parquet"

    @property
    def words(self) -> str:
        reason = f" for {self.reason}" if self.reason else ""
        return f"rejected tracks{reason}" if self.rejected else "tracks"

    @property
    def suffix(self) -> str:
        """Of the files that show them."""
        return "".join(f"-{word}" for word in ("rejected" * self.rejected, self.reason) if word)

    def takes(self, row: Mapping[str, Any]) -> bool:
        return not self.reason or row["reason"] == self.reason


@dataclass(frozen=True)
class FoundTracks:
    """Tracks of one video. `total`: how many it has of the kind; `is_one`: one track was named, not the video."""

    video: str
    location: str  # redacted
    tracks: Sequence[ShownTrack]
    total: int
    working_height_px: int
    dropped: bool  # the version says so; the bytes may be there still
    is_one: bool = False


def open_dataset(url: str, name: str) -> tuple[Root, Version]:
    """A root and the newest version of one of its data sets; raises RootError naming those that there are."""
    root = open_root(url, create=False)
    version = latest_version(root, name)
    if not version.number:
        raise unknown_dataset(root, name)
    return root, version


def find_tracks(root: Root, version: Version, text: str, wanted: Wanted, limit: int | None = None) -> FoundTracks:
    """What a user names: one track, or all of a video (`limit`: at most so many, spread evenly over it).

    A track is named whole or without its number, a video by the first digits of its SHA-256 or by its source's
    location. Raises RootError, in one line with the remedy, for what names nothing, or several.
    """
    if match := _NAME.fullmatch(text):
        video = _only(text, [one for one in sorted(version.videos) if one.startswith(match["video"])], "videos")
        found = _read(root, version, video, wanted)
        start = f"{video[:16]}-{match['start']}-"
        named = f"{start}{match['number']}" if match["number"] else ""
        tracks = [one for one in found.tracks if one.name == named or (not named and one.name.startswith(start))]
        if not tracks:
            raise RootError(_no_track(text, found, wanted))
        _only(text, [track.name for track in tracks], "tracks")
        return replace(found, tracks=tracks, is_one=True)
    found = _read(root, version, _find_video(version, text), wanted)
    return replace(found, tracks=spread(found.tracks, limit))


def sample_tracks(root: Root, version: Version, wanted: Wanted, limit: int) -> list[FoundTracks]:
    """At most `limit` tracks of a data set, the same ones each time, from as many videos as there are.

    Videos come by their digests, which are as good as random; of each, tracks come by the checksums of their names.
    """
    number = _counted(root, wanted)
    counts: dict[str, int] = {}
    for video in sorted(reached_videos(version)):
        entry = version.videos.get(video)
        if len(counts) < limit and entry and entry.key and not entry.failure and (count := number(entry)):
            counts[video] = count
    shares = dict.fromkeys(counts, 0)
    for _ in range(limit):  # one each, in turns
        open_videos = [video for video in counts if shares[video] < counts[video]]
        if not open_videos or sum(shares.values()) == limit:
            break
        for video in open_videos[: limit - sum(shares.values())]:
            shares[video] += 1
    found = []
    for video, share in shares.items():
        one = _read(root, version, video, wanted)
        chosen = sorted(one.tracks, key=lambda track: (zlib.crc32(track.name.encode()), track.name))[:share]
        found.append(replace(one, tracks=sorted(chosen, key=lambda track: track.frames.start)))
    return found


def spread(tracks: Sequence[ShownTrack], limit: int | None) -> Sequence[ShownTrack]:
    """At most `limit` tracks, evenly over the table's order, which is that of their starts."""
    if limit is None or len(tracks) <= limit:
        return tracks
    return [tracks[place * len(tracks) // limit] for place in range(limit)]


def _counted(root: Root, wanted: Wanted) -> Callable[[VideoEntry], int]:
    """How many tracks of the kind a video has; the version knows it of accepted ones."""
    if not wanted.rejected:
        return lambda entry: entry.tracks
    return lambda entry: sum(map(wanted.takes, _rows(root, require_manifest(root, "track", entry.key), wanted)))


def _find_video(version: Version, text: str) -> str:
    source = source_at(text).id
    if source in version.sources and (video := version.sources[source].video):
        return video
    held = {*version.videos, *reached_videos(version)}
    found = sorted(one for one in held if one.startswith(text)) if _DIGITS.fullmatch(text) else []
    return _only(text, found, "videos")


def _only(text: str, found: Sequence[str], kind: str) -> str:
    """The one that was found; raises RootError where it is none or several."""
    if len(found) == 1:
        return found[0]
    if found:
        shown = [one if kind == "tracks" else one[:16] for one in found[:_MOST_NAMED]]
        more = f" and {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
        raise RootError(f"show: {redact(text)!r} names {len(found)} {kind}: {', '.join(shown)}{more}; give one of them")
    raise RootError(
        f"show: {redact(text)!r} names no video of the data set; give the first digits of its SHA-256 (4 at least), "
        "its source's URL or path, or a track's name such as 0123456789abcdef-40-1"
    )


def _no_track(text: str, found: FoundTracks, wanted: Wanted) -> str:
    names = [track.name for track in found.tracks]
    given = text.split("-")[1]
    near = sorted(names, key=lambda name: abs(int(name.split("-")[1]) - int(given)))[:_MOST_NAMED]
    there = f"the nearest of {len(names)}: {', '.join(near)}" if names else f"the video has no {wanted.words}"
    hint = "" if wanted.rejected else " (--rejected looks among the rejected ones)"
    return f"show: {text!r} names none of the {wanted.words} of {found.video[:16]}; {there}{hint}"


def _read(root: Root, version: Version, video: str, wanted: Wanted) -> FoundTracks:
    """All tracks of a video, in the order of their table."""
    entry = version.videos.get(video)
    if entry is None or not (entry.key or entry.failure):
        raise RootError(f"show: video {video[:16]} has no tracks yet; run tritrack track")
    if entry.failure:
        why = f"{entry.failure.reason}, {plain(entry.failure.words, 200)}"
        raise RootError(f"show: video {video[:16]} could not be tracked: {why}")
    manifest = require_manifest(root, "track", entry.key)
    rows = [row for row in _rows(root, manifest, wanted) if wanted.takes(row)]
    location = next((one.location for one in version.sources.values() if one.video == video), "")
    height = manifest.recipe.parameters.get("working_height_px", 0)
    assert isinstance(height, int), "a whole number in the stage's configuration"
    tracks = shown_tracks(cast(list[PathRow], rows))
    return FoundTracks(video, redact(location), tracks, len(tracks), height, entry.dropped)


def _rows(root: Root, manifest: Manifest, wanted: Wanted) -> list[dict[str, Any]]:
    """The rows of a unit's table; raises RootError where an older unit has fewer columns."""
    schema = REJECTED_SCHEMA if wanted.rejected else TRACK_SCHEMA
    file = manifest.files.get(wanted.table)
    table = None if file is None else read_table(root, file)
    if table is None or not set(schema.names) <= set(table.column_names):
        raise RootError(
            f"show: track unit {manifest.key[:16]} was made by an older Tritrack, which kept less of its tracks; "
            "run tritrack track to make it again"
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
