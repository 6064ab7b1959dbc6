"""The table of labelled boxes that stands beside written videos."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tasks.world.render import Frame

LABEL_SCHEMA = pa.schema(
    [
        ("video", pa.string()),  # SHA-256 of the mp4 file's bytes
        ("file", pa.string()),  # its name
        ("frame", pa.int32()),  # from 0
        ("object", pa.int32()),  # number in the video, from 1
        ("class", pa.string()),
        ("x", pa.float32()),  # the visible part's tight box, px
        ("y", pa.float32()),
        ("width", pa.float32()),
        ("height", pa.float32()),
        ("visibility", pa.float32()),  # 0 to 1
    ]
)

EVERY_FRAMES = 8  # neighbours show nearly the same picture
MIN_VISIBILITY = 0.6  # below, what is left may not tell the class
MIN_SIDE_PX = 16


def label_rows(frame: Frame) -> list[dict[str, Any]]:
    """One row for each solid of a labelled frame that is seen well enough; without `video` and `file`."""
    if frame.index % EVERY_FRAMES:
        return []
    rows = []
    for thing in frame.objects:
        x, y, width, height = thing.box
        if thing.visibility >= MIN_VISIBILITY and min(width, height) >= MIN_SIDE_PX:
            rows.append(
                {
                    "frame": frame.index,
                    "object": thing.object,
                    "class": thing.label,
                    "x": x,
                    "y": y,
                    "width": width,
                    "height": height,
                    "visibility": thing.visibility,
                }
            )
    return rows
