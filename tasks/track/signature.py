"""A video's signature: perceptual hashes of the frames that stand out, by which near-duplicate videos are found.

Which frames those are is told by the pictures alone, never by their time from the start: so a trim, and a copy at
another rate, keeps the very frames that the whole video kept. What every constant is worth is measured by
`python -m tests.bench.duplicates`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.frames import small_picture

MAX_FRAMES = 32  # 512 bytes a video in a version's table
_SIDE = 32  # pHash: the lowest 8 x 8 frequencies of a 32 x 32 picture
_LOW = 8
_BAR_RANGE = 12  # grey levels between the darkest and the lightest point of a line that belongs to a border
_MAX_BAR = 19  # of 64 lines: a border takes at most 30 % from each side
_MIN_CONTRAST = 4.0  # grey levels: below it a re-encode at CRF 45 changes 16 bits of 64, above it 2
_MIN_STANDING_SECONDS = 0.25
# +1 or -1 for each of the 8 x 8 frequencies, drawn once.
_SIGNS = np.unpackbits(np.frombuffer(bytes.fromhex("e07ff66e5007677e"), np.uint8)).reshape(_LOW, _LOW) * 2.0 - 1


def _level_weights() -> np.ndarray:
    """(8, 8) float64: low frequencies count more; those that a mirror negates (odd columns) and light do not."""
    order = np.arange(_LOW)
    weights = _SIGNS / (1 + order[:, None] + order[None, :])
    weights[:, 1::2] = 0
    weights[0, 0] = 0
    return weights


_LEVEL_WEIGHTS = _level_weights()


@dataclass(frozen=True, slots=True)
class Look:
    """How a frame looks. `value`: its 64-bit hash; `level`: where it lies on one fixed scale from -1 to 1."""

    value: int
    level: float


def look_at(grey: np.ndarray) -> Look | None:
    """The look of a frame ((H, W) uint8, or its small picture), or None where it shows next to nothing, as a black one.

    Borders of one colour (letterbox, frames) are left out. The bits are the signs of the frequencies, row by row,
    the first of them 0: those of a mirrored frame differ in just the odd columns.
    """
    picture = _without_borders(small_picture(grey))
    if cv2.meanStdDev(picture)[1].item() < _MIN_CONTRAST:
        return None
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(small)[:_LOW, :_LOW]
    low[0, 0] = 0
    value = int.from_bytes(np.packbits(low > 0).tobytes(), "big")
    return Look(value, float((_LEVEL_WEIGHTS * low).sum() / np.linalg.norm(low)))


class SignatureSampler:
    """Takes the looks of a video's frames in order. Holds 24 bytes of each: 2.6 MB for an hour at 30 a second."""

    def __init__(self) -> None:
        self._seconds = array("d")
        self._values = array("Q")
        self._levels = array("d")

    def feed(self, seconds: float, look: Look | None) -> None:
        """Take the next frame: its time from the start of the video, and its look."""
        if look is None:
            return
        self._seconds.append(max(seconds, self._seconds[-1]) if self._seconds else seconds)
        self._values.append(look.value)
        self._levels.append(look.level)

    def signature(self) -> list[str]:
        """At most 32 hashes as 16 hex digits each; none of a video that shows nothing.

        A frame stands out for as long as none within that time before and after it lies higher, or none lower.
        Those that stand out longest come first, and time beyond either end of the video counts for nothing there:
        so the first hashes of a trim are among those of the whole, which are fewer a second.
        """
        if not self._seconds:
            return []
        seconds, levels = np.array(self._seconds), np.array(self._levels)
        highest, lowest = _standing(seconds, levels), _standing(seconds, -levels)
        order = np.argsort(-np.maximum(highest, lowest), kind="stable")
        kept = [place for place in order if max(highest[place], lowest[place]) >= 0][:MAX_FRAMES]
        return [f"{self._values[place]:016x}" for place in kept]


def _without_borders(picture: np.ndarray) -> np.ndarray:
    edges = np.stack([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if (np.ptp(edges, axis=1) > _BAR_RANGE).all():
        return picture
    top, bottom = _inner(np.ptp(picture, axis=1))
    picture = picture[top:bottom]
    left, right = _inner(np.ptp(picture, axis=0))
    inner: np.ndarray = picture[:, left:right]
    return inner


def _inner(ranges: np.ndarray) -> tuple[int, int]:
    """Where the border lines end and begin again. `ranges`: (64,) uint8, grey levels of each line."""
    wide = ranges > _BAR_RANGE
    start, end = int(wide.argmax()), int(wide[::-1].argmax())
    if not wide.any():
        start = end = _MAX_BAR
    return min(start, _MAX_BAR), len(ranges) - min(end, _MAX_BAR)


def _standing(seconds: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """For how many seconds each frame is the highest, (N,) float64; -1 where for less than a quarter second.

    Of equal ones the first is the highest. Whether it is long enough is judged as if lower frames followed on either
    end, since a short video would have none otherwise.
    """
    before, after = _higher_neighbours(levels)
    last = len(seconds) - 1
    first_half, second_half = seconds - seconds[np.maximum(before, 0)], seconds[np.minimum(after, last)] - seconds
    open_ended = np.minimum(np.where(before < 0, np.inf, first_half), np.where(after > last, np.inf, second_half))
    closed: np.ndarray = np.minimum(first_half, second_half)
    return np.where(open_ended >= _MIN_STANDING_SECONDS, closed, -1.0)


def _higher_neighbours(levels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place of the last frame before each that is as high, else -1, and of the next that is higher, else N."""
    before, after = np.full(len(levels), -1), np.full(len(levels), len(levels))
    falling: list[int] = []
    values: Sequence[float] = levels.tolist()
    for place, level in enumerate(values):
        while falling and values[falling[-1]] < level:
            after[falling.pop()] = place
        if falling:
            before[place] = falling[-1]
        falling.append(place)
    return before, after
