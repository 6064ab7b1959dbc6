"""Surface normals as classes of a coarse grid, and back: Wang, Fouhey and Gupta, "Designing deep networks for surface
normal estimation" (CVPR 2015), their coarse network; codewords as in Ladicky et al. (ECCV 2014)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans

from tasks.evaluate.depth import Mask, Normals

GRID = 20  # cells a side, and
CODEWORDS = 20  # classes a cell: 8,000 outputs, as the authors' global network has them (3dscript/global_test)
UNKNOWN = -1
_LEAST_KNOWN = 0.5  # share of a cell's pixels that have a normal
_STARTS = 4  # of k-means, of which the best is taken


def codebook(normals: npt.NDArray[np.floating], seed: int) -> npt.NDArray[np.float32]:
    """(CODEWORDS, 3) of unit length, by k-means over normals (N, 3), of which there must be as many."""
    centres = KMeans(CODEWORDS, n_init=_STARTS, random_state=seed).fit(normals).cluster_centers_
    return unit(centres.astype(np.float32))


def cell_normals(normals: Normals, known: Mask) -> Normals:
    """(h, w, 3) -> (GRID, GRID, 3): the mean direction in each cell, 0 where less than half of it is known."""
    shares = cv2.resize(known.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA)
    means = cv2.resize(normals * known[..., None], (GRID, GRID), interpolation=cv2.INTER_AREA)
    return np.where((shares >= _LEAST_KNOWN)[..., None], unit(means), 0).astype(np.float32)


def classes_of(cells: npt.NDArray[np.float32], words: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """(..., 3) -> the nearest codeword of each (...), `UNKNOWN` where a normal is 0."""
    nearest = (cells @ words.T).argmax(axis=-1)
    return np.where(np.any(cells != 0, axis=-1), nearest, UNKNOWN)


def decoded(shares: npt.NDArray[np.float32], words: npt.NDArray[np.float32], size: tuple[int, int]) -> Normals:
    """(GRID, GRID, CODEWORDS) probabilities -> normals (H, W, 3): the words mixed by them, scaled up, unit length."""
    return spread(shares @ words, size)


def spread(cells: npt.NDArray[np.float32], size: tuple[int, int]) -> Normals:
    """(GRID, GRID, 3) -> (H, W, 3) of unit length."""
    return unit(np.asarray(cv2.resize(cells, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32))


def unit(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Vectors (..., 3) of unit length; those of no length stay so."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(length > 1e-12, length, 1), np.float32)
