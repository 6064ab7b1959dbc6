"""Nearest neighbours as pictures: what a query finds by each kind of features, kept for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.evaluate.search import Features, nearest

NEIGHBOURS = 5
QUERIES = 8
SHOWN = ("trained", "untrained", "supervised", "hog")  # rows of a query; colour and pixels would only fill the page

NEIGHBOUR_SCHEMA = pa.schema(
    [
        ("query", pa.int32()),  # number of the query, from 0
        ("features", pa.string()),  # whose neighbours: trained, untrained, hog; empty for the query itself
        ("rank", pa.int32()),  # 0 is the query
        ("video", pa.string()),  # SHA-256
        ("label", pa.string()),  # class, or empty
        ("relevant", pa.bool_()),  # the query's own positive, or of its class
        ("cosine", pa.float32()),
        ("jpeg", pa.binary()),
    ]
)


@dataclass(frozen=True)
class Neighbour:
    """A row of NEIGHBOUR_SCHEMA."""

    query: int
    features: str
    rank: int
    video: str
    label: str
    relevant: bool
    cosine: float
    jpeg: bytes


@dataclass(frozen=True)
class Item:
    """What a row of a gallery shows: its video, its label if it has one, and its picture."""

    video: str
    label: str
    jpeg: bytes


def neighbour_rows(
    chosen: Sequence[int],
    queries: Mapping[str, Features],
    gallery: Mapping[str, Features],
    allowed: npt.NDArray[np.bool_],
    relevant: npt.NDArray[np.bool_],
    query_item: Callable[[int], Item],
    gallery_item: Callable[[int], Item],
) -> list[Neighbour]:
    """The chosen queries and the nearest gallery rows of each, by kind of features.

    queries, gallery: features (N, F) by kind; allowed, relevant: (len(chosen), N) over the gallery.
    """
    rows: list[Neighbour] = []
    for number, query in enumerate(chosen):
        item = query_item(query)
        rows.append(Neighbour(number, "", 0, item.video, item.label, True, 1.0, item.jpeg))
    for features in filter(queries.__contains__, SHOWN):
        found, cosines = nearest(queries[features][list(chosen)], gallery[features], allowed, NEIGHBOURS)
        for number in range(len(chosen)):
            for rank, index in enumerate(found[number].tolist(), start=1):
                if index < 0:
                    continue
                item = gallery_item(index)
                rows.append(
                    Neighbour(
                        number,
                        features,
                        rank,
                        item.video,
                        item.label,
                        bool(relevant[number, index]),
                        float(cosines[number, rank - 1]),
                        item.jpeg,
                    )
                )
    return rows


def choose_queries(
    strata: npt.NDArray[np.integer], clusters: npt.NDArray[np.integer], seed: int, most: int = QUERIES
) -> list[int]:
    """Up to `most` row numbers, drawn by the seed and not by how well they do: the report must not flatter.

    Strata (N,) take turns, and within a stratum the clusters (N,), so that few rows show much of the variety.
    """
    remaining = np.random.default_rng(seed).permutation(len(strata)).tolist()
    of_stratum, of_cluster = Counter[int](), Counter[int]()
    chosen: list[int] = []
    while remaining and len(chosen) < most:
        row = min(remaining, key=lambda each: (of_stratum[int(strata[each])], of_cluster[int(clusters[each])]))
        remaining.remove(row)
        of_stratum[int(strata[row])] += 1
        of_cluster[int(clusters[row])] += 1
        chosen.append(row)
    return chosen
