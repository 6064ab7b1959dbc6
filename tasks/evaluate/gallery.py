"""The report's pictures: tracks drawn on frames, triplets, and nearest neighbours. Drawn by the seed, not by merit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow.compute as pc

from storage.keys import JSON
from storage.manifests import Manifest, video_path
from storage.root import Root
from storage.tables import read_table
from tasks.evaluate.frames import local_video, read_frames
from tasks.evaluate.neighbours import choose_queries
from tasks.evaluate.pairs import Pair, PatchReader
from tasks.evaluate.pictures import Box, data_uri, draw_track, encode_jpeg

TRACKS = 6
TRIPLETS = 8
_FRAME_WIDTH_PX = 360
_DECODE_FRAMES = 3000  # a picture is not worth decoding further into a video than this


@dataclass(frozen=True)
class TrackPicture:
    """One track on its frames at start, middle and end: (caption, data URI) each."""

    video: str
    title: str
    words: str
    frames: list[tuple[str, str]]


@dataclass(frozen=True)
class TripletPicture:
    """Anchor, positive and negative as data URIs; no negative where no other video could give one."""

    video: str
    negative_video: str
    split: str
    anchor: str
    positive: str
    negative: str


@dataclass(frozen=True)
class NeighbourPicture:
    """One patch: data URI, label (or empty), whether it is the right answer, and its cosine to the query."""

    picture: str
    label: str
    relevant: bool
    cosine: float


@dataclass(frozen=True)
class QueryPicture:
    """A query and what each kind of features found: (features, neighbours from the nearest on)."""

    query: NeighbourPicture
    found: list[tuple[str, list[NeighbourPicture]]]


def track_pictures(root: Root, units: Sequence[Manifest], seed: int) -> list[TrackPicture]:
    """One track of each of up to TRACKS videos, of every frame size before a second of any.

    Videos whose frames cannot be decoded any more are passed over.
    """
    pictures: list[TrackPicture] = []
    for place in _sizes_in_turn(units, np.random.default_rng(seed).permutation(len(units)).tolist()):
        if len(pictures) == TRACKS:
            break
        table = read_table(root, units[place].files["tracks.parquet"])
        near = table.filter(pc.less(table["end_frame"], _DECODE_FRAMES))
        if near.num_rows:
            row = int(np.random.default_rng([seed, place]).integers(near.num_rows))
            track = near.slice(row, 1).drop_columns(["anchor_jpeg", "positive_jpeg"]).to_pylist()[0]
            if picture := _draw(root, track):
                pictures.append(picture)
    return pictures


def _sizes_in_turn(units: Sequence[Manifest], order: list[int]) -> list[int]:
    """The order rearranged so that a large source of equal videos does not hide the others."""
    turns: Counter[tuple[JSON, JSON]] = Counter()
    turn_of = {}
    for place in order:
        size = (units[place].facts.get("width"), units[place].facts.get("height"))
        turn_of[place] = turns[size]
        turns[size] += 1
    return sorted(order, key=turn_of.__getitem__)


def triplet_pictures(root: Root, pairs: Sequence[Pair], seed: int) -> list[TripletPicture]:
    """Up to TRIPLETS triplets, from as many videos as there are."""
    if not pairs:
        return []
    groups = _numbered([pair.group for pair in pairs])
    splits = _numbered([pair.split for pair in pairs])
    pictures = []
    with PatchReader(root) as reader:
        for index in choose_queries(splits, groups, seed, TRIPLETS):
            pair = pairs[index]
            negative = ""
            if pair.negative_shard:
                negative = data_uri(reader.jpeg(pair.negative_shard, pair.negative_row, "anchor"))
            pictures.append(
                TripletPicture(
                    pair.video,
                    pair.negative_video,
                    pair.split.replace("_", "-"),
                    data_uri(reader.jpeg(pair.shard, pair.row, "anchor")),
                    data_uri(reader.jpeg(pair.shard, pair.row, "positive")),
                    negative,
                )
            )
    return pictures


def query_pictures(root: Root, unit: Manifest) -> list[QueryPicture]:
    """The queries of a benchmark unit's neighbours.parquet."""
    rows = read_table(root, unit.files["neighbours.parquet"]).to_pylist()
    queries = []
    for number in sorted({row["query"] for row in rows}):
        mine = [row for row in rows if row["query"] == number]
        kinds = list(dict.fromkeys(row["features"] for row in mine if row["features"]))
        found = [(kind, [_neighbour(row) for row in mine if row["features"] == kind]) for kind in kinds]
        queries.append(QueryPicture(_neighbour(next(row for row in mine if row["rank"] == 0)), found))
    return queries


def stored_pictures(root: Root, unit: Manifest) -> list[tuple[str, list[tuple[str, str]]]]:
    """The pictures that a benchmark kept: by what they show, (caption, data URI) each.

    Of `pictures.parquet` the first column says what a row shows, `jpeg` is the picture; the others are its caption.
    """
    if "pictures.parquet" not in unit.files:
        return []
    table = read_table(root, unit.files["pictures.parquet"])
    subject, *others = (name for name in table.column_names if name != "jpeg")
    shown: dict[str, list[tuple[str, str]]] = {}
    for row in table.to_pylist():
        known = [row[name] for name in others if row[name] not in (None, "")]
        words = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in known]
        shown.setdefault(row[subject], []).append((", ".join(words), data_uri(row["jpeg"])))
    return list(shown.items())


def _neighbour(row: dict[str, Any]) -> NeighbourPicture:
    return NeighbourPicture(data_uri(row["jpeg"]), row["label"], row["relevant"], row["cosine"])


def _draw(root: Root, track: dict[str, Any]) -> TrackPicture | None:
    boxes = [cast(Box, tuple(box)) for box in track["boxes"]]
    steps = sorted({0, len(boxes) // 2, len(boxes) - 1})
    start, seconds, last = track["start_frame"], track["start_seconds"], max(1, len(boxes) - 1)
    if not root.exists(video_path(track["video"])):
        return None
    with local_video(root, track["video"]) as path:
        decoded = dict(read_frames(path, [start + step for step in steps]))
    if len(decoded) < len(steps):
        return None
    if decoded[start].shape[:2] != (track["frame_height"], track["frame_width"]):
        return None
    span = track["end_seconds"] - seconds
    frames = []
    for step in steps:
        drawn = draw_track(decoded[start + step], boxes, step, _FRAME_WIDTH_PX)
        frames.append((f"{seconds + span * step / last:.2f} s", data_uri(encode_jpeg(drawn, 80))))
    error, sure = track["forward_backward_px"], track["confidence"]  # null where a box tracker measures neither
    measured = [] if error is None else [f"forward-backward {error:.2f} px"]
    measured += [] if sure is None else [f"confidence {sure:.2f}"]
    words = ", ".join([*measured, f"correlation {track['ncc']:.2f}"])
    return TrackPicture(track["video"], f"frames {start} to {track['end_frame']}", words, frames)


def _numbered(names: Sequence[str]) -> np.ndarray:
    return np.unique(np.asarray(names, np.str_), return_inverse=True)[1]
