"""Labelled boxes: the labels file, and the crops that it names, cut from the stored videos."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from storage.manifests import video_path
from storage.root import Root
from tasks.evaluate.frames import local_video, read_frames, square_crop
from tasks.evaluate.pictures import Box, Picture

CONTEXT = 1.2  # the square's side over the box's longer side: the object with a rim of its surroundings
MIN_SIDE_PX = 8  # a smaller box shows no shape
_NUMBERS = ("frame", "x", "y", "width", "height", "visibility")
_COLUMNS = ("video", "class", *_NUMBERS)
_SCHEMA = pa.schema(
    [
        ("video", pa.string()),
        ("class", pa.string()),
        ("frame", pa.int64()),
        *((name, pa.float64()) for name in ("x", "y", "width", "height", "visibility")),
    ]
)


@dataclass(frozen=True)
class Label:
    """One labelled box: `frame` counts decoded frames from 0, `box` is in px of that frame."""

    video: str
    frame: int
    name: str
    box: Box


def read_labels(path: str, min_visibility: float) -> tuple[dict[str, list[Label]], Counter[str]]:
    """The labels by video (SHA-256), with what was left out, counted by reason.

    Raises ValueError, one line that names the file and the remedy, where it is missing, is no Parquet file or
    lacks a column.
    """
    table = _read_parquet(path)
    left_out: Counter[str] = Counter()
    found: dict[str, list[Label]] = {}
    for row in table.to_pylist():
        numbers = [row[column] for column in _NUMBERS]
        if row["video"] is None or row["class"] is None or not all(n is not None and math.isfinite(n) for n in numbers):
            left_out["labels_incomplete"] += 1
        elif row["visibility"] < min_visibility:
            left_out["labels_hidden"] += 1
        elif min(row["width"], row["height"]) < MIN_SIDE_PX:
            left_out["labels_small"] += 1
        else:
            box = (row["x"], row["y"], row["width"], row["height"])
            found.setdefault(row["video"], []).append(Label(row["video"], row["frame"], row["class"], box))
    return found, left_out


def sample_labels(labels: list[Label], most: int, seed: int) -> list[Label]:
    """At most so many labels of one video, drawn by the seed and the video alone, in order of frames.

    A draw, not every n-th: a stride that meets the number of objects would keep one object only.
    """
    if len(labels) > most:
        rng = np.random.default_rng([seed, int(labels[0].video[:16], 16)])
        labels = [labels[place] for place in rng.choice(len(labels), most, replace=False)]
    return sorted(labels, key=lambda label: (label.frame, label.box, label.name))


def labelled_crops(
    root: Root, labels: Mapping[str, list[Label]], side_px: int
) -> Iterator[tuple[str, list[Label], list[Picture]]]:
    """Per video: its SHA-256, the labels whose frames could be decoded, and their crops (side_px, side_px, 3)."""
    for video in sorted(labels):
        if not root.exists(video_path(video)):
            yield video, [], []
            continue
        by_frame: dict[int, list[Label]] = {}
        for label in labels[video]:
            by_frame.setdefault(label.frame, []).append(label)
        kept: list[Label] = []
        crops: list[Picture] = []
        with local_video(root, video) as path:
            for index, frame in read_frames(path, by_frame):
                for label in by_frame[index]:
                    kept.append(label)
                    crops.append(square_crop(frame, label.box, CONTEXT, side_px))
        yield video, kept, crops


def _read_parquet(path: str) -> pa.Table:
    remedy = f"name a Parquet file with the columns {', '.join(_COLUMNS)}, or leave it empty to skip classification"
    if not Path(path).is_file():
        raise ValueError(f"evaluate.labels: {path!r} does not exist; {remedy}")
    try:
        names = pq.read_schema(path).names
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"evaluate.labels: {path!r} is no Parquet file ({_first_line(error)}); {remedy}") from error
    if missing := [column for column in _COLUMNS if column not in names]:
        raise ValueError(f"evaluate.labels: {path!r} has no column {', '.join(missing)}; {remedy}")
    try:
        return pq.read_table(path, columns=list(_COLUMNS)).select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"evaluate.labels: {path!r} cannot be read ({_first_line(error)}); {remedy}") from error


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
