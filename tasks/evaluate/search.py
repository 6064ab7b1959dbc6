"""Exact cosine search in blocks: memory stays flat however many features there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from tasks.far_away import Paths, far_away

Features = npt.NDArray[np.float32]  # (N, F)
Ranks = npt.NDArray[np.int64]  # (N,)
_BLOCK_CELLS = 1 << 23  # similarities held at once: 32 MB
_BLOCK_ROWS = 8192  # of a gallery that may not fit into memory


def normalised(features: Features) -> Features:
    """Rows scaled to length 1; a row of zeros stays zero and is unlike everything."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, 1e-12), np.float32)


def positive_ranks(
    anchors: Features,
    positives: Features,
    groups: npt.NDArray[np.integer],
) -> npt.NDArray[np.int64]:
    """The rank (N,), from 1, of each anchor's own positive among it and the positives of all other groups.

    anchors, positives: (N, F), row i is pair i; groups: (N,). Ties count against the query, so that a
    collapsed network, to which all patches are equal, ranks last and not first.
    """
    anchors, positives = normalised(anchors), normalised(positives)
    own = np.einsum("nf,nf->n", anchors, positives)
    ranks = np.empty(len(anchors), np.int64)
    for rows, similarity in _blocks(anchors, positives):
        similarity[groups[rows, None] == groups[None, :]] = -np.inf
        # A matrix product and a row-wise one round differently; the slack keeps equal patches tied.
        ranks[rows] = 1 + (similarity >= own[rows, None] - 1e-6).sum(axis=1)
    return ranks


def ranks_in_video(
    anchors: Mapping[str, Features], positives: Mapping[str, Features], paths: Paths
) -> tuple[dict[str, Ranks], Ranks]:
    """By kind of features, the rank (N,), from 1, of each anchor's own positive among it and those of its video that
    show other things; and how many of these there are (N,).

    Other things: tracks that were `far_away`. A video at a time, so that memory does not grow with their number; ties
    count against the query.
    """
    ranks = {name: np.ones(len(paths.videos), np.int64) for name in anchors}
    rivals = np.zeros(len(paths.videos), np.int64)
    for video in np.unique(paths.videos):
        rows = np.flatnonzero(paths.videos == video)
        other = far_away(paths.of(rows))
        rivals[rows] = other.sum(axis=1)
        for name, features in anchors.items():
            similarity = normalised(features[rows]) @ normalised(positives[name][rows]).T
            ranks[name][rows] += (other & (similarity >= similarity.diagonal()[:, None] - 1e-6)).sum(axis=1)
    return ranks, rivals


def nearest(
    queries: Features, gallery: Features, allowed: npt.NDArray[np.bool_], count: int
) -> tuple[npt.NDArray[np.int64], Features]:
    """The `count` most alike gallery rows of each query: indices and cosines, both (Q, count).

    allowed: (Q, G) masks the gallery; where fewer are allowed, the index is -1. For few queries: the mask is dense.
    """
    similarity = normalised(queries) @ normalised(gallery).T
    similarity[~allowed] = -np.inf
    count = min(count, len(gallery))
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :count]
    cosines = np.take_along_axis(similarity, order, axis=1)
    return np.where(np.isfinite(cosines), order, -1), cosines


def nearest_rows(queries: Features, gallery: Features, count: int) -> tuple[npt.NDArray[np.int64], Features]:
    """The `count` most alike gallery rows of each query, from the most alike on: indices and cosines, both (Q, count).

    Exact, a block of the gallery at a time: both may be mapped from disk. Fewer than `count` where the gallery is
    smaller; which of equal rows are taken is fixed by their order.
    """
    count = min(count, len(gallery))
    found = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    for first in range(0, len(gallery), _BLOCK_ROWS):
        block = normalised(gallery[first : first + _BLOCK_ROWS])
        closest, alike = [], []
        step = max(1, _BLOCK_CELLS // len(block))
        for start in range(0, len(queries), step):
            similarity = normalised(queries[start : start + step]) @ block.T
            most = min(count, len(block))
            rows = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
            closest.append(rows + first)
            alike.append(np.take_along_axis(similarity, rows, axis=1))
        found, cosines = np.hstack([found, np.concatenate(closest)]), np.hstack([cosines, np.concatenate(alike)])
        order = np.lexsort((found, -cosines), axis=1)[:, :count]
        found, cosines = np.take_along_axis(found, order, axis=1), np.take_along_axis(cosines, order, axis=1)
    return found, cosines


def class_retrieval(
    features: Features,
    classes: npt.NDArray[np.integer],
    groups: npt.NDArray[np.integer],
    depth: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Precision at `depth` and average precision (N,) of each item against all items of other groups.

    An item of the query's class is relevant. NaN where the other groups hold no relevant item, which does not
    depend on the features. Average precision is the mean, over relevant items, of the precision at their rank;
    ties count against the query.
    """
    features = normalised(features)
    precision = np.full(len(features), np.nan)
    average = np.full(len(features), np.nan)
    for rows, similarity in _blocks(features, features):
        outside = groups[rows, None] != groups[None, :]
        relevant = (classes[rows, None] == classes[None, :]) & outside
        similarity[~outside] = -np.inf
        order = np.lexsort((relevant, -np.round(similarity, 6)), axis=1)
        hits = np.take_along_axis(relevant, order, axis=1)
        found = hits.cumsum(axis=1)
        known = found[:, -1] > 0
        at_rank = found / np.arange(1, hits.shape[1] + 1)
        sums = (at_rank * hits).sum(axis=1)
        reach = np.maximum(np.minimum(depth, outside.sum(axis=1)), 1)
        precision[rows] = np.where(known, hits[:, :depth].sum(axis=1) / reach, np.nan)
        average[rows] = np.where(known, sums / np.maximum(found[:, -1], 1), np.nan)
    return precision, average


def chance_average_precision(num_relevant: int, num_gallery: int) -> float:
    """The expected average precision of a random order of `num_gallery` items with `num_relevant` relevant ones.

    The precision at the rank i of a relevant item is (1 + (i - 1)(R - 1)/(N - 1)) / i on average; summed over
    i with P(relevant at i) = R/N and divided by R.
    """
    if num_gallery == 1:
        return float(num_relevant)
    harmonic = float((1 / np.arange(1, num_gallery + 1)).sum())
    return (harmonic + (num_relevant - 1) / (num_gallery - 1) * (num_gallery - harmonic)) / num_gallery


def _blocks(queries: Features, gallery: Features) -> Iterator[tuple[npt.NDArray[np.int64], Features]]:
    """Row numbers and their similarities to the whole gallery, a block at a time."""
    step = max(1, _BLOCK_CELLS // max(1, len(gallery)))
    for first in range(0, len(queries), step):
        rows = np.arange(first, min(first + step, len(queries)))
        yield rows, queries[rows] @ gallery.T
