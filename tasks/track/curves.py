"""Curves of a track's scores over its frames, small, to lie under the pictures of those frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.track.drawing import FAINT, INK, PANEL, Colour, Picture, blank, put_line, put_text, text_width
from tasks.track.shown import ShownTrack, is_known

_LINE_COLOURS: tuple[Colour, ...] = ((255, 140, 40), (0, 200, 255), (190, 130, 255), (120, 230, 80))
_GRID: Colour = (58, 60, 68)
_TITLE_PX = 18  # above the curve
_BOTTOM_PX = 5


@dataclass(frozen=True)
class Curve:
    """Values at some frames (NaN: not measured), the range that is shown, and how its ends are written."""

    title: str
    frames: Sequence[int]
    values: Sequence[float]
    low: float
    high: float
    unit: str = ""


def score_curves(track: ShownTrack, likeness: Sequence[float] = ()) -> list[Curve]:
    """The scores of a track's row, and where it was measured (one a frame) how alike each patch is to the first."""
    row, later = track.row, track.frames[1:]
    curves = [
        Curve("forward-backward error", later, row["errors_px"], 0, _ceiling(row["errors_px"]), " px"),
        Curve("agreement of points", later, row["agreement"], 0, 1),
        Curve("jolt", later, row["jolts_px"], 0, _ceiling(row["jolts_px"]), " px"),
    ]
    if likeness:
        curves.append(Curve("NCC with the start", track.frames[: len(likeness)], likeness, min(0, *likeness), 1))
    return [curve for curve in curves if any(map(is_known, curve.values))]


def draw_curve(curve: Curve, places: dict[int, float], width: int, height: int, colour: int = 0) -> Picture:
    """One panel. `places`: x in px of some frames, at least the first and the last; others lie between them."""
    panel = blank(width, height, PANEL)
    at = sorted(places)
    x = np.interp(curve.frames, at, [places[frame] for frame in at])
    top, bottom = _TITLE_PX + 2, height - _BOTTOM_PX
    for place in places.values():
        panel[_TITLE_PX:, min(width - 1, max(0, round(place)))] = _GRID
    panel[bottom, :] = _GRID
    span = curve.high - curve.low or 1.0
    points: list[tuple[float, float]] = []
    for across, value in zip(x, curve.values, strict=False):
        if is_known(value):
            share = (min(max(value, curve.low), curve.high) - curve.low) / span
            points.append((float(across), bottom - share * (bottom - top)))
            continue
        put_line(panel, points, _LINE_COLOURS[colour], 2)
        points = []
    put_line(panel, points, _LINE_COLOURS[colour], 2)
    put_text(panel, curve.title, 6, 13, INK, 0.38)
    limits = f"{_number(curve.low)} to {_number(curve.high)}{curve.unit}"
    put_text(panel, limits, width - 6 - text_width(limits, 0.36), 13, FAINT, 0.36)
    return panel


def _ceiling(values: Sequence[float]) -> float:
    """A round number of px not below the largest known value; 1 at least, since less is the estimator's own noise."""
    largest = max((value for value in values if is_known(value)), default=0.0)
    if largest <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= largest * 0.999)


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value else "0"
