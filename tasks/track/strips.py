"""Strips: what a track's box held at some of its frames, gathered in one pass over the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.track.appearance import appearance_patches, correlation
from tasks.track.boxes import Box
from tasks.track.decode import DecodedFrame
from tasks.track.drawing import Picture, cut, cut_box, fitted, put_box, put_corners, put_line
from tasks.track.frames import working_frame
from tasks.track.shown import ShownTrack

_STRIDE_FRAMES = 5
_MOST_TILES = 9


class StripLooker:
    """Cuts squares around the boxes of tracks, at the frames that are wanted of each.

    `pictures` maps a track's name and a frame to its square, (side_px, side_px, 3): all that is held. What lies
    outside the frame is the frame reflected, or else dark.
    """

    def __init__(
        self,
        wanted: Sequence[tuple[ShownTrack, Sequence[int]]],
        context: float,
        side_px: int,
        *,
        reflected: bool = True,
    ) -> None:
        self.pictures: dict[tuple[str, int], Picture] = {}
        self.last_frame = max((max(frames, default=0) for _, frames in wanted), default=0)
        self._context, self._side_px, self._reflected = context, side_px, reflected
        self._at: dict[int, list[ShownTrack]] = {}
        for track, frames in wanted:
            for frame in frames:
                self._at.setdefault(frame, []).append(track)

    def look(self, frame: DecodedFrame) -> None:
        """Cut the squares that are wanted of this frame."""
        tracks = self._at.get(frame.index)
        if tracks is None:
            return
        rgb = np.asarray(frame.rgb(), np.uint8)
        for track in tracks:
            box = track.box(frame.index)
            assert box is not None, "wanted at frames of the track"
            square = cut(rgb, box, self._context, self._side_px, reflected=self._reflected)
            put_corners(square, cut_box(box, self._context, self._side_px), track.colour)
            self.pictures[track.name, frame.index] = square


class StoryLooker:
    """Looks at one track more closely: how alike each patch is to the first, and the whole frames at its ends.

    `likeness`: one value a frame seen so far, measured as tracking measures it at `working_height_px`;
    `ends`: the first and the last frame at a height, with the box and the path of its centres.
    """

    def __init__(self, track: ShownTrack, working_height_px: int, height_px: int) -> None:
        self.last_frame = track.frames.stop - 1
        self.likeness: list[float] = []
        self.ends: dict[int, Picture] = {}
        self._track, self._working_height_px, self._height_px = track, working_height_px, height_px
        self._first: np.ndarray | None = None

    def look(self, frame: DecodedFrame) -> None:
        """Compare the patch of this frame with the first one."""
        box = self._track.box(frame.index)
        if box is None:
            return
        seen = working_frame(frame, self._working_height_px, colour=False)
        x, y, width, height = box
        scaled = Box(x / seen.scale_x, y / seen.scale_y, width / seen.scale_x, height / seen.scale_y)
        patch = appearance_patches(seen.grey, [scaled])[0]
        self._first = patch if self._first is None else self._first
        self.likeness.append(correlation(self._first, patch))
        if frame.index in (self._track.frames.start, self.last_frame):
            self.ends[frame.index] = self._whole(frame, box)

    def _whole(self, frame: DecodedFrame, box: Sequence[float]) -> Picture:
        scale = self._height_px / frame.height
        width = max(1, round(frame.width * scale))
        least = (frame.width, frame.height) if scale > 1 else (width, self._height_px)
        picture = fitted(np.array(frame.scaled_rgb(*least), np.uint8), width, self._height_px)
        path = self._track.row["boxes"][: frame.index - self._track.frames.start + 1]
        put_line(picture, [((x + w / 2) * scale, (y + h / 2) * scale) for x, y, w, h in path], self._track.colour)
        put_box(picture, [value * scale for value in box], self._track.colour, 2)
        return picture


def frames_between(track: ShownTrack, number: int) -> list[int]:
    """So many frames of a track, evenly spread between its first and its last; fewer where it has fewer."""
    first, last = track.frames.start, track.frames.stop - 1
    spread = {round(frame) for frame in np.linspace(first, last, number + 2)[1:-1]}
    return sorted(spread - {first, last})


def frames_of_strip(track: ShownTrack) -> list[int]:
    """The first frame, every fifth after it (wider apart in a long track), and the last."""
    last = track.frames.stop - 1
    stride = _STRIDE_FRAMES
    while (last - track.frames.start) / stride > _MOST_TILES - 1:
        stride += _STRIDE_FRAMES
    return sorted({*track.frames[::stride], last})


def pictures_of(pictures: Mapping[tuple[str, int], Picture], track: ShownTrack) -> dict[int, Picture]:
    """The pictures of one track by frame, rising."""
    return {frame: pictures[name, frame] for name, frame in sorted(pictures) if name == track.name}
