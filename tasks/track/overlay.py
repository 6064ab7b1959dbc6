"""Overlay videos: tracks drawn on the frames of their video, encoded as they are decoded, each at its own time."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.stream import VideoStream

from tasks.encoding import video_codec
from tasks.track.decode import DecodedFrame
from tasks.track.drawing import (
    FAINT,
    INK,
    PANEL,
    WARNING,
    Colour,
    Patch,
    Picture,
    blank,
    cut,
    cut_box,
    fitted,
    paste,
    put_box,
    put_corners,
    put_line,
    put_tag,
    put_text,
    tag_patch,
    text_width,
)
from tasks.track.shown import ShownTrack, is_known

_LEAST_PX, _MOST_PX = 640, 1280  # of the longer side: small frames are enlarged, so that tags hide little of them
_LEAST_HEIGHT_PX = 560  # beside the column of one track
_FOOTER_PX = 24
_TRAIL_FRAMES = 30
_MARGIN_FRAMES = 10  # before and after a track
_CRF = 21
# Of a second: 24, 25, 30, 50, 60 and the 1001 rates are whole numbers of it, and MPEG-4 allows no more than 65,535.
_TICKS = 60_000
_FRAME_SECONDS = 1 / 25  # of the last frame, where there is one only


class VideoWriter:
    """`with VideoWriter(path) as writer:` encodes pictures into an mp4; the file is there once all went well.

    Holds as many frames as the encoder looks ahead (about 40).
    """

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(f".{path.name}.partial")
        self._container = av.open(str(self._partial), "w", format="mp4", options={"movflags": "+faststart"})
        self._stream: VideoStream | None = None
        self._first_seconds, self._ticks, self._duration = 0.0, -1, round(_TICKS * _FRAME_SECONDS)

    def write(self, picture: Picture, seconds: float) -> None:
        """Add a frame that is shown at `seconds`; the first one's time is where the video begins.

        Odd sizes lose their last row or column; all frames get the first one's size.
        """
        if self._stream is None:
            self._first_seconds = seconds
            self._stream = self._open(picture.shape[1] & ~1, picture.shape[0] & ~1)
        stream = self._stream
        if picture.shape[0] & ~1 != stream.height or picture.shape[1] & ~1 != stream.width:
            picture = fitted(picture, stream.width, stream.height)
        even = np.ascontiguousarray(picture[: stream.height, : stream.width])
        ticks = max(self._ticks + 1, round((seconds - self._first_seconds) * _TICKS))
        self._duration = ticks - self._ticks if self._ticks >= 0 else self._duration
        self._ticks = ticks
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts, frame.time_base, frame.duration = ticks, Fraction(1, _TICKS), self._duration
        self._container.mux(stream.encode(frame))

    def _open(self, width: int, height: int) -> VideoStream:
        codec, options = video_codec(_CRF, "veryfast")
        stream = self._container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, VideoStream), "the codec is one of pictures"
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        stream.codec_context.thread_count = 1
        return stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
            self._container.close()
            if kind is None and self._stream is not None:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)


class VideoOverlay:
    """Looks at a whole video and writes it with all its tracks: numbered boxes, trails of their centres, scores."""

    def __init__(self, writer: VideoWriter, tracks: Sequence[ShownTrack]) -> None:
        self.last_frame = sys.maxsize
        self._writer, self._tracks = writer, tracks

    def look(self, frame: DecodedFrame) -> None:
        self._writer.write(self.draw(frame), frame.seconds)

    def draw(self, frame: DecodedFrame) -> Picture:
        """The frame with its tracks, above a line that says which frame it is."""
        picture, scale = _scaled(frame)
        height, width = picture.shape[:2]
        canvas = blank(width, (height + _FOOTER_PX + 1) & ~1)
        seen = [track for track in self._tracks if frame.index in track.frames]
        for track in seen:
            put_line(picture, _trail(track, frame.index, scale), track.colour)
            put_box(picture, _times(track.box(frame.index), scale), track.colour, thickness=1 if track.reason else 2)
        self._put_tags(picture, [(track, _times(track.box(frame.index), scale)) for track in seen])
        paste(canvas, picture, 0, 0)
        base = height + 16
        put_text(canvas, f"frame {frame.index}   {frame.seconds:.2f} s", 8, base)
        if seen:
            words = f"{len(seen)} track{'s' if len(seen) > 1 else ''}"
            put_text(canvas, words, width - 8 - text_width(words), base, FAINT)
        return canvas

    def _put_tags(self, picture: Picture, boxes: Sequence[tuple[ShownTrack, tuple[float, ...]]]) -> None:
        """A tag at a corner of each box, where it hides no other tag if there is such a corner."""
        taken: list[Patch] = []
        for track, (x, y, width, height) in boxes:
            text = _tag(track)
            right = x + width - tag_patch(picture, text, 0, 0).right + 2
            corners = [(x - 1, y - 2), (right, y - 2), (x - 1, y + height + 16), (right, y + height + 16)]
            patches = [tag_patch(picture, text, *corner) for corner in corners]
            free = (place for place, patch in enumerate(patches) if not any(map(patch.overlaps, taken)))
            chosen = next(free, 0)
            put_tag(picture, text, *corners[chosen], track.colour)
            taken.append(patches[chosen])


class TrackOverlay:
    """Looks at the frames around one track and writes them: the frame with its box, and beside it the patch at the
    start and the patch now, held still, so that a box that slides off its object is seen at once."""

    def __init__(self, writer: VideoWriter, track: ShownTrack) -> None:
        self._first_frame = max(0, track.frames.start - _MARGIN_FRAMES)
        self.last_frame = track.frames.stop - 1 + _MARGIN_FRAMES
        self._writer, self._track = writer, track
        self._start: Picture | None = None

    def look(self, frame: DecodedFrame) -> None:
        if frame.index >= self._first_frame:
            self._writer.write(self.draw(frame), frame.seconds)

    def draw(self, frame: DecodedFrame) -> Picture:
        """The frame, whole, beside a column of the two patches and the scores of this frame."""
        track = self._track
        picture, scale = _scaled(frame, _LEAST_HEIGHT_PX)
        height, width = max(picture.shape[0], _LEAST_HEIGHT_PX), picture.shape[1]
        side = min(240, (height - 200) // 2)
        at = min(max(frame.index, track.frames.start), track.frames.stop - 1)
        box = track.box(at)
        assert box is not None, "the nearest frame of the track has a box"
        is_there = frame.index in track.frames
        if is_there:
            put_line(picture, _trail(track, frame.index, scale), track.colour)
            put_box(picture, _times(box, scale), track.colour)
        else:
            put_corners(picture, _times(box, scale), FAINT)
        canvas = blank((width + side + 24) & ~1, height & ~1)
        paste(canvas, picture, 0, 0)
        now = self._patch(frame, box, side, is_there)
        if frame.index == track.frames.start:
            self._start = now
        left = width + 12
        shown = (("start", self._start), ("now" if is_there else "now, not tracked", now))
        for place, (title, patch) in enumerate(shown):
            top = 8 + place * (side + 28)
            put_text(canvas, title, left, top + 12, FAINT)
            paste(canvas, blank(side, side, PANEL) if patch is None else patch, left, top + 18)
        self._write_words(canvas, frame, left, 8 + 2 * (side + 28) + 12)
        return canvas

    def _patch(self, frame: DecodedFrame, box: tuple[float, float, float, float], side: int, is_there: bool) -> Picture:
        patch = cut(frame.rgb(), box, self._track.context, side)
        if is_there:
            put_corners(patch, cut_box(box, self._track.context, side), self._track.colour)
        return patch

    def _write_words(self, canvas: Picture, frame: DecodedFrame, left: int, top: int) -> None:
        track, row = self._track, self._track.row
        step = frame.index - track.frames.start - 1  # scores begin with the second box
        lines: list[tuple[str, Colour]] = [(track.label, INK), (f"frame {frame.index}   {frame.seconds:.2f} s", INK)]
        for name, values, shape in (
            ("fb error", row["errors_px"], "{:.2f} px"),
            ("agreement", row["agreement"], "{:.2f}"),
            ("jolt", row["jolts_px"], "{:.2f} px"),
        ):
            value = values[step] if 0 <= step < len(values) else None
            shown = shape.format(value) if value is not None and is_known(value) else "-"
            lines.append((f"{name} {shown}", INK if shown != "-" else FAINT))
        if track.reason:
            lines.append((track.reason, WARNING))
        elif (confidence := row["confidence"]) is not None and is_known(confidence):
            lines.append((f"confidence {confidence:.2f}", INK))
        for place, (text, colour) in enumerate(lines):
            put_text(canvas, text, left, top + 19 * place, colour)


def _scaled(frame: DecodedFrame, least_height_px: int = 0) -> tuple[Picture, tuple[float, float]]:
    """The frame at a bounded size, free to draw on, and px of it for a source px across and down."""
    longer = max(frame.width, frame.height)
    scale = min(max(1.0, _LEAST_PX / longer, least_height_px / frame.height), _MOST_PX / longer)
    width, height = (max(2, round(side * scale / 2) * 2) for side in (frame.width, frame.height))
    picture = np.asarray(frame.scaled_rgb(width, height), np.uint8)
    if not picture.flags.writeable:
        picture = picture.copy()
    return picture, (width / frame.width, height / frame.height)


def _times(box: tuple[float, float, float, float] | None, scale: tuple[float, float]) -> tuple[float, ...]:
    assert box is not None, "asked of a frame that the track is in"
    x, y, width, height = box
    return x * scale[0], y * scale[1], width * scale[0], height * scale[1]


def _trail(track: ShownTrack, frame: int, scale: tuple[float, float]) -> list[tuple[float, float]]:
    """Centres of the newest boxes, px of the scaled picture."""
    step = frame - track.frames.start
    newest = track.row["boxes"][max(0, step - _TRAIL_FRAMES) : step + 1]
    return [((x + width / 2) * scale[0], (y + height / 2) * scale[1]) for x, y, width, height in newest]


def _tag(track: ShownTrack) -> str:
    confidence = track.row["confidence"]
    if track.reason:
        return f"{track.label} {track.reason.replace('_', ' ')}"
    known = confidence is not None and is_known(confidence)
    return f"{track.label}  {confidence:.2f}" if known else track.label
