"""Contact sheets: many tracks at a glance, or one track in detail. Pictures are (H, W, 3) uint8 RGB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tasks.track.curves import draw_curve, score_curves
from tasks.track.drawing import (
    FAINT,
    INK,
    PANEL,
    WARNING,
    Picture,
    blank,
    decode_crop,
    fitted,
    paste,
    put_corners,
    put_tag,
    put_text,
    text_width,
)
from tasks.track.shown import ShownTrack
from tasks.track.strips import frames_of_strip, pictures_of

TILE_PX = 120
NUM_BETWEEN = 4
TILES_A_ROW = NUM_BETWEEN + 2
STRIP_CONTEXT = 1.5  # as the stored crops
WIDE_CONTEXT = 2.5  # of the strip of one track: what is around it
DETAIL_PX = 240
STRIP_PX = 208  # a tile of the strip of one track
_GAP_PX = 3
_MARGIN_PX = 16
_HEADER_PX = 44
_CAPTION_PX = 46
_CURVE_PX = 78
_LEGEND = (
    "fb: worst forward-backward error   ncc: of the last patch with the first   "
    "step, lag: the least of a patch with that of the frame before, of ten frames before"
)


def tracks_sheet(title: str, tracks: Sequence[ShownTrack], pictures: Mapping[tuple[str, int], Picture]) -> Picture:
    """A cell a track: anchor, frames between, positive, its name and scores beneath. Two columns where there are many.

    `pictures`: by track and frame, as `StripLooker` gathers them. A track of which there are none is shown by its
    stored crops and the curves of its scores.
    """
    across = TILES_A_ROW * (TILE_PX + _GAP_PX) - _GAP_PX
    columns = 1 if len(tracks) < 4 else 2
    rows = -(-len(tracks) // columns)
    width = columns * (across + _MARGIN_PX) + _MARGIN_PX
    sheet = blank(width, _HEADER_PX + rows * (TILE_PX + _CAPTION_PX) + _MARGIN_PX // 2)
    put_text(sheet, title, _MARGIN_PX, 19, INK, 0.5)
    put_text(sheet, _LEGEND, _MARGIN_PX, 36, FAINT, 0.38)
    for place, track in enumerate(tracks):
        column, row = place // rows, place % rows
        x = _MARGIN_PX + column * (across + _MARGIN_PX)
        paste(sheet, _cell(track, pictures_of(pictures, track), across), x, _HEADER_PX + row * (TILE_PX + _CAPTION_PX))
    return sheet


def track_sheet(
    track: ShownTrack,
    pictures: Mapping[tuple[str, int], Picture],
    ends: Sequence[Picture] = (),
    likeness: Sequence[float] = (),
    note: str = "",
) -> Picture:
    """One track: its crops and whole frames, a strip (see `frames_of_strip`), and the curves of its scores under it.

    What there is no video for is left out.
    """
    strip = frames_of_strip(track)
    seen = pictures_of(pictures, track)
    width = max(960, len(strip) * (STRIP_PX + _GAP_PX) - _GAP_PX)
    tiles = _tiles(track, strip, seen, width) if seen else blank(width, 0)
    parts = [_title(track, note, width), _details(track, ends, width), tiles, *_curves(track, strip, likeness, width)]
    height = sum(part.shape[0] for part in parts) + 2 * _MARGIN_PX
    sheet, y = blank(width + 2 * _MARGIN_PX, height), _MARGIN_PX
    for part in parts:
        paste(sheet, part, _MARGIN_PX, y)
        y += part.shape[0]
    return sheet


def _cell(track: ShownTrack, seen: Mapping[int, Picture], across: int) -> Picture:
    cell = blank(across, TILE_PX + _CAPTION_PX)
    anchor, positive = _ends(track, seen)
    step = TILE_PX + _GAP_PX
    between = [picture for frame, picture in seen.items() if frame not in (track.frames[0], track.frames[-1])]
    tiles = [anchor, *between[:NUM_BETWEEN], positive]
    for place, picture in enumerate(tiles):
        paste(cell, blank(TILE_PX, TILE_PX, PANEL) if picture is None else picture, place * step, 0)
    if not seen:
        _small_curves(cell, track, 2 * step, across - 2 * step)
    if track.reason:
        put_tag(cell, track.reason.replace("_", " "), 0, 15, WARNING)
    row = track.row
    seconds = row["end_seconds"] - row["start_seconds"]
    put_text(cell, track.name, 0, TILE_PX + 15)
    when = f"frames {row['start_frame']} to {row['end_frame']}   {row['start_seconds']:.2f} s + {seconds:.2f} s"
    put_text(cell, when, across - text_width(when, 0.38), TILE_PX + 15, FAINT, 0.38)
    put_text(cell, track.words(), 0, TILE_PX + 32, FAINT, 0.38)
    return cell


def _ends(track: ShownTrack, seen: Mapping[int, Picture]) -> tuple[Picture | None, Picture | None]:
    """Anchor and positive: the stored crops, or those of the video for a track without."""
    if track.crops is None:
        return seen.get(track.frames.start), seen.get(track.frames[-1])
    anchor, positive = (_crop(track, jpeg, TILE_PX) for jpeg in track.crops)
    return anchor, positive


def _crop(track: ShownTrack, jpeg: bytes, side_px: int) -> Picture:
    """A stored crop with the box in its middle."""
    picture = decode_crop(jpeg, side_px)
    inner = side_px / track.context
    put_corners(picture, ((side_px - inner) / 2, (side_px - inner) / 2, inner, inner), track.colour)
    return picture


def _small_curves(cell: Picture, track: ShownTrack, x: int, width: int) -> None:
    curves = score_curves(track)
    places = {track.frames.start: 6.0, track.frames[-1]: width - 6.0}
    height = TILE_PX // max(1, len(curves))
    for place, curve in enumerate(curves):
        paste(cell, draw_curve(curve, places, width - _GAP_PX, height - 1, place), x, place * height)


def _title(track: ShownTrack, note: str, width: int) -> Picture:
    part = blank(width, 58)
    row = track.row
    put_text(part, track.name, 0, 14, INK, 0.6)
    if track.reason:
        put_tag(
            part, f"rejected: {track.reason.replace('_', ' ')}", text_width(track.name, 0.6) + 14, 18, WARNING, 0.42
        )
    seconds = row["end_seconds"] - row["start_seconds"]
    size = f"{row['frame_width']} x {row['frame_height']} px"
    when = f"{row['start_seconds']:.2f} s + {seconds:.2f} s"
    about = f"frames {row['start_frame']} to {row['end_frame']}   {when}   {size}   {row['estimator']}"
    put_text(part, f"{about}   {track.words()}", 0, 34, FAINT)
    put_text(part, note, 0, 50, FAINT, 0.38)
    return part


def _details(track: ShownTrack, ends: Sequence[Picture], width: int) -> Picture:
    """Both crops, then as much of the whole frames at the ends as there is room for."""
    pictures: list[tuple[str, Picture]] = []
    if track.crops:
        names = (f"anchor, frame {track.frames.start}", f"positive, frame {track.frames[-1]}")
        pictures = [(name, _crop(track, jpeg, DETAIL_PX)) for name, jpeg in zip(names, track.crops, strict=True)]
    pictures += [
        (f"frame {frame}", picture)
        for frame, picture in zip((track.frames.start, track.frames[-1]), ends, strict=False)
    ]
    if not pictures:
        return blank(width, 0)
    part, x = blank(width, DETAIL_PX + 32), 0
    room = width - sum(picture.shape[1] + 6 for _, picture in pictures[:2]) if len(pictures) > 2 else width
    for place, (name, picture) in enumerate(pictures):
        most = room // 2 - 6 if place >= 2 else width
        if picture.shape[1] > most > 0:
            picture = fitted(picture, most, max(1, round(picture.shape[0] * most / picture.shape[1])))
        if x + picture.shape[1] > width:
            break
        put_text(part, name, x, 12, FAINT, 0.38)
        paste(part, picture, x, 18)
        x += picture.shape[1] + 6
    return part


def _tiles(track: ShownTrack, strip: Sequence[int], seen: Mapping[int, Picture], width: int) -> Picture:
    side = (width - _GAP_PX * (len(strip) - 1)) // len(strip)
    part = blank(width, min(side, STRIP_PX) + 24)
    for place, (frame, x) in enumerate(_tile_places(strip, width).items()):
        tile = seen.get(frame, blank(STRIP_PX, STRIP_PX, PANEL))
        paste(part, tile, round(x - STRIP_PX / 2), 18)
        seconds = track.row["seconds"][frame - track.frames.start] - track.row["start_seconds"]
        words = f"frame {frame}" if place == 0 else f"+{frame - track.frames.start}   +{seconds:.2f} s"
        put_text(part, words, round(x - STRIP_PX / 2), 12, FAINT, 0.38)
    return part


def _tile_places(strip: Sequence[int], width: int) -> dict[int, float]:
    """The middle of each tile, px."""
    step = STRIP_PX + _GAP_PX
    return {frame: STRIP_PX / 2 + place * step for place, frame in enumerate(strip)}


def _curves(track: ShownTrack, strip: Sequence[int], likeness: Sequence[float], width: int) -> list[Picture]:
    places = _tile_places(strip, width)
    drawn = []
    for place, curve in enumerate(score_curves(track, likeness)):
        panel = draw_curve(curve, places, width, _CURVE_PX, place)
        drawn.append(np.concatenate([panel, blank(width, 4)]))
    return drawn
