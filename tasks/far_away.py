"""Which tracks of one video certainly follow different things: those that ran side by side, far from one another.

Distance in time proves nothing, since a thing comes back, at another place too. But what is in one frame at two places
is two things, or two parts of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FRAME_COLUMNS, BOX_COLUMNS = ("start_frame", "end_frame"), ("anchor_box", "positive_box")
"""Columns of PAIR_SCHEMA that `read_paths` takes."""

# Of 1,341 tracks of 33 clips 14,017 couples have frames in common. At 1, 1.5 and 2 sides 55, 33 and 19 % of them are
# far; by their boxes in every frame 3.1 %, none and none of these touch each other somewhere.
FAR_SIDES = 1.5


@dataclass(frozen=True)
class Paths:
    """Where the tracks of N pairs ran.

    `videos` (N,) int32 numbers the videos; `frames` (N, 2) int32: the anchor's and the positive's; `boxes` (N, 2, 3)
    float32: centre x, centre y and longer side of their boxes, px of the source frame.
    """

    videos: NDArray[np.int32]
    frames: NDArray[np.int32]
    boxes: NDArray[np.float32]

    def of(self, pairs: NDArray[np.int64]) -> Paths:
        """Those of some pairs (P,), in their order."""
        return Paths(self.videos[pairs], self.frames[pairs], self.boxes[pairs])


def read_paths(indexes: Sequence[pa.Table], videos: NDArray[np.int64]) -> Paths:
    """The paths of all rows of some shards' indexes, one after the other; `videos` (N,) numbers their videos."""
    frames = [np.stack([index[name].to_numpy() for name in FRAME_COLUMNS], axis=1) for index in indexes]
    boxes = [np.stack([_centred(index[name]) for name in BOX_COLUMNS], axis=1) for index in indexes]
    return Paths(videos.astype(np.int32), np.concatenate(frames).astype(np.int32), np.concatenate(boxes))


def far_away(paths: Paths) -> NDArray[np.bool_]:
    """(P, P) bool, symmetric: couples of one video whose tracks have frames in common and are far apart in all of them.

    Far: the centres of the boxes are `FAR_SIDES` of the longest side of the four boxes apart, or more. A box between
    anchor and positive is taken on the straight line: what the camera does to both drops out of their distance.
    """
    result = np.zeros((len(paths.videos), len(paths.videos)), bool)
    first, second = np.nonzero(np.triu(paths.videos[:, None] == paths.videos, 1))
    begin = np.maximum(paths.frames[first, 0], paths.frames[second, 0])
    end = np.minimum(paths.frames[first, 1], paths.frames[second, 1])
    common = begin <= end
    first, second, begin, end = first[common], second[common], begin[common], end[common]
    before, after = (_centres(paths, second, time) - _centres(paths, first, time) for time in (begin, end))
    sides = np.maximum(paths.boxes[first, :, 2].max(axis=1), paths.boxes[second, :, 2].max(axis=1))
    far = _nearest(before, after) >= FAR_SIDES * sides
    result[first[far], second[far]] = result[second[far], first[far]] = True
    return result


def _centred(boxes: pa.ChunkedArray) -> NDArray[np.float32]:
    """(n, 3) float32 of a column of n boxes: centre x, centre y, longer side."""
    x, y, width, height = boxes.combine_chunks().flatten().to_numpy().reshape(-1, 4).T
    return np.stack([x + width / 2, y + height / 2, np.maximum(width, height)], axis=1, dtype=np.float32)


def _centres(paths: Paths, pairs: NDArray[np.int64], times: NDArray[np.int32]) -> NDArray[np.float64]:
    """(C, 2) centres of the boxes of C pairs, each at its time, a frame."""
    begin, end = paths.frames[pairs].T
    share = ((times - begin) / np.maximum(end - begin, 1))[:, None]
    boxes = paths.boxes[pairs, :, :2].astype(np.float64)
    centres: NDArray[np.float64] = boxes[:, 0] * (1 - share) + boxes[:, 1] * share
    return centres


def _nearest(before: NDArray[np.float64], after: NDArray[np.float64]) -> NDArray[np.float64]:
    """(C,) how near the straight lines from `before` to `after`, both (C, 2), come to 0."""
    step = after - before
    squares = (step**2).sum(axis=1)
    share = -(before * step).sum(axis=1) / np.where(squares > 0, squares, 1)
    nearest: NDArray[np.float64] = np.linalg.norm(before + step * share.clip(0, 1)[:, None], axis=1)
    return nearest
