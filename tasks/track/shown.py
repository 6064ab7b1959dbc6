"""Tracks as they are shown: what is drawn of a row, and one pass over a video for all that want to see its frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tasks.records import Progress, no_progress
from tasks.track.decode import DecodedFrame, VideoDecoder
from tasks.track.drawing import COLOURS, Colour
from tasks.track.rows import PathRow, SourceBox

_PROGRESS_FRAMES = 16


@dataclass(frozen=True)
class ShownTrack:
    """An accepted track with its two JPEG crops, or a rejected one with its reason and no crops."""

    row: PathRow
    colour: Colour
    reason: str = ""
    crops: tuple[bytes, bytes] | None = None
    context: float = 1.5

    @property
    def name(self) -> str:
        return self.row["track"]

    @property
    def label(self) -> str:
        """The name without its video: start frame and number."""
        return self.name.partition("-")[2]

    @property
    def frames(self) -> range:
        return range(self.row["start_frame"], self.row["start_frame"] + len(self.row["boxes"]))

    def box(self, frame: int) -> SourceBox | None:
        """The box in a frame of the video, source px, or None where the track is not there."""
        return self.row["boxes"][frame - self.frames.start] if frame in self.frames else None

    def words(self) -> str:
        """Its scores in one line; what was not measured is left out."""
        row = self.row
        scores = (
            ("confidence", row["confidence"], "{:.2f}"),
            ("fb", row["forward_backward_px"], "{:.2f} px"),
            ("ncc", row["ncc"], "{:.2f}"),
            ("step", row["step_ncc"], "{:.2f}"),
            ("lag", row["lag_ncc"], "{:.2f}"),
        )
        return "   ".join(f"{name} {shape.format(value)}" for name, value, shape in scores if is_known(value))


class Looker(Protocol):
    """Wants to see the frames of a video, in order, up to `last_frame`."""

    last_frame: int

    def look(self, frame: DecodedFrame) -> None:
        """See the next frame."""


def shown_tracks(rows: Sequence[PathRow]) -> list[ShownTrack]:
    """Rows of one video, each with a colour that its neighbours do not have; rows of either track table."""
    tracks = []
    for place, row in enumerate(rows):
        crops = (row["anchor_jpeg"], row["positive_jpeg"]) if "anchor_jpeg" in row else None  # type: ignore[typeddict-item]
        reason = str(row.get("reason", ""))
        context = float(str(row.get("context", 1.5)))
        tracks.append(ShownTrack(row, COLOURS[place % len(COLOURS)], reason, crops, context))
    return tracks


def watch(path: Path, lookers: Sequence[Looker], progress: Progress = no_progress) -> int:
    """Decode a video once, frame by frame, for all who look at it; returns how many frames there were to see.

    Raises Dropped where nothing of it decodes.
    """
    last_frame, seen = max(looker.last_frame for looker in lookers), 0
    with VideoDecoder(path) as decoder:
        for frame in decoder:
            for looker in lookers:
                if frame.index <= looker.last_frame:
                    looker.look(frame)
            seen = frame.index + 1
            if seen % _PROGRESS_FRAMES == 0:
                progress(seen, max(seen, min(last_frame + 1, decoder.num_frames_claimed or last_frame + 1)))
            if frame.index >= last_frame:
                break
    return seen


def is_known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)
