"""A video's signature: perceptual hashes of a few frames, by which near-duplicate videos are found."""

from __future__ import annotations

import cv2
import numpy as np

_SIDE = 32  # pHash: the 8 x 8 lowest frequencies of a 32 x 32 picture, above or below their median
_LOW = 8
_CAPACITY = 64


def perceptual_hash(grey: np.ndarray) -> str:
    """64-bit hash of a frame ((H, W) uint8) as 16 hex digits: alike frames differ in few bits."""
    small = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    # Without the constant row and column: they hold little but the light's slope.
    low = cv2.dct(small)[1 : _LOW + 1, 1 : _LOW + 1]
    bits = (low > np.median(low)).ravel()
    return np.packbits(bits).tobytes().hex()


class SignatureSampler:
    """Collects hashes evenly over a stream of unknown length, holding at most 64 of them."""

    def __init__(self) -> None:
        self._hashes: list[tuple[int, str]] = []
        self._stride = 1
        self._num_frames = 0

    def feed(self, index: int, grey: np.ndarray) -> None:
        """Take the next frame: (H, W) uint8."""
        self._num_frames = index + 1
        if index % self._stride:
            return
        if len(self._hashes) == _CAPACITY:
            self._hashes = self._hashes[::2]
            self._stride *= 2
            if index % self._stride:
                return
        self._hashes.append((index, perceptual_hash(grey)))

    def signature(self, num: int) -> list[str]:
        """Hashes of the frames nearest to the middles of `num` equal parts of the video."""
        middles = [(part + 0.5) * self._num_frames / num for part in range(num)]
        return [min(self._hashes, key=lambda entry: (abs(entry[0] - middle), entry[0]))[1] for middle in middles]
