"""Arrays that grow on disk, so that memory stays flat however many images there are."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt


class Spill:
    """Rows that are written to a file as they come and mapped when they are read.

    All rows have the shape and type of the first ones.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._dtype: np.dtype[np.generic] = np.dtype(np.float32)
        self._shape: tuple[int, ...] = ()
        self._rows = 0

    def add(self, rows: npt.NDArray[np.generic]) -> None:
        """Write rows (n, ...) behind the others."""
        if not self._rows:
            self._dtype, self._shape = rows.dtype, rows.shape[1:]
        assert (rows.dtype, rows.shape[1:]) == (self._dtype, self._shape), "rows are alike"
        self._file.write(np.ascontiguousarray(rows).data)
        self._rows += len(rows)

    def mapped(self) -> npt.NDArray[np.generic]:
        """All rows (N, ...), read-only; no more can be added."""
        self._file.close()
        shape = (self._rows, *self._shape)
        if not math.prod(shape):
            return np.zeros(shape, self._dtype)
        return np.memmap(self._path, self._dtype, "r", shape=shape)
