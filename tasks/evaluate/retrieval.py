"""Held-out track retrieval: does a patch find itself 30 frames later, among patches of other videos or of its own?"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.evaluate.context import Context, Result
from tasks.evaluate.features import BATCH_IMAGES, load_extractors
from tasks.evaluate.neighbours import Item, Neighbour, choose_queries, neighbour_rows
from tasks.evaluate.pairs import Member, Pair, PatchReader, read_pairs
from tasks.evaluate.scores import Score, no_score, score_rows
from tasks.evaluate.search import Features, positive_ranks, ranks_in_video
from tasks.far_away import Paths

NAME = "retrieval"
DEPTHS = (1, 5, 10)
IN_VIDEO = "recall@1 in its video"
_NOTE = "embedding, cosine; gallery: own positive and those of all other videos"
_IN_VIDEO_NOTE = "embedding, cosine; gallery: own positive and those of its video, tracked beside it at other places"


def run(context: Context) -> Result:
    """Recall at 1, 5 and 10 of each held-out anchor's own positive.

    The gallery of a query is its positive and the positives of every other group of near-duplicates, so that
    another patch of the same object never counts as a mistake. The last metric asks within the video: there the
    others are those that were tracked at the same time, far away in the picture, which share its light and its
    camera; a query without any is left out. Features are the embeddings that were trained; intervals are resampled by
    group, with the gallery held fixed.
    """
    pairs = read_pairs(context.root, context.tracks, "held_out")
    groups = _numbered([pair.group for pair in pairs])
    counts = {
        "queries": len(pairs),
        "videos": len({pair.video for pair in pairs}),
        "groups": len(set(groups.tolist())),
    }
    reason = f"{counts['groups']} held-out videos with tracks: nothing to retrieve among"
    scores = [no_score(NAME, f"recall@{depth}", reason, len(pairs)) for depth in DEPTHS]
    if not pairs:
        return Result([*scores, no_score(NAME, IN_VIDEO, reason)], counts=counts)
    neighbours: list[Neighbour] = []
    with PatchReader(context.root) as reader:
        anchors, positives = _features(context, reader, pairs)
        paths = reader.paths(pairs)
        if counts["groups"] > 1:
            scores = _scores(context, anchors, positives, groups)
            neighbours = _neighbours(reader, pairs, groups, anchors, positives, context.seed)
    return Result(scores + _scores_in_video(context, anchors, positives, groups, paths), neighbours, counts)


def _scores(
    context: Context,
    anchors: dict[str, Features],
    positives: dict[str, Features],
    groups: npt.NDArray[np.int64],
) -> list[Score]:
    ranks = {name: positive_ranks(anchors[name], positives[name], groups) for name in anchors}
    sizes = 1 + len(groups) - np.bincount(groups)[groups]
    rows: list[Score] = []
    for depth in DEPTHS:
        rows += score_rows(
            NAME,
            f"recall@{depth}",
            {name: (rank <= depth).astype(np.float64) for name, rank in ranks.items()},
            groups,
            samples=context.config.bootstrap_samples,
            chance=float(np.minimum(1, depth / sizes).mean()),
            note=_NOTE,
        )
    return rows


def _scores_in_video(
    context: Context,
    anchors: dict[str, Features],
    positives: dict[str, Features],
    groups: npt.NDArray[np.int64],
    paths: Paths,
) -> list[Score]:
    found, rivals = ranks_in_video(anchors, positives, paths)
    asked = rivals > 0
    if not asked.any():
        return [no_score(NAME, IN_VIDEO, "no two held-out tracks of a video ran side by side, far apart")]
    return score_rows(
        NAME,
        IN_VIDEO,
        {name: (ranks[asked] == 1).astype(np.float64) for name, ranks in found.items()},
        groups[asked],
        samples=context.config.bootstrap_samples,
        chance=float((1 / (1 + rivals[asked])).mean()),
        note=_IN_VIDEO_NOTE,
    )


def _features(
    context: Context, reader: PatchReader, pairs: list[Pair]
) -> tuple[dict[str, Features], dict[str, Features]]:
    """Anchor and positive features (N, F) by kind; patches are decoded a batch at a time."""
    extractors, side_px = load_extractors(context.judged, "embedding", context.device), context.judged.side_px
    members: tuple[Member, Member] = ("anchor", "positive")
    parts: dict[Member, dict[str, list[Features]]] = {each: {name: [] for name in extractors} for each in members}
    for first in range(0, len(pairs), BATCH_IMAGES):
        batch = pairs[first : first + BATCH_IMAGES]
        for member in members:
            images = np.stack([reader.patch(pair.shard, pair.row, member, side_px) for pair in batch])
            for name, extract in extractors.items():
                parts[member][name].append(extract(images))
        context.progress(first + len(batch), len(pairs), "pairs")
    anchors, positives = (
        {name: np.concatenate(blocks) for name, blocks in parts[member].items()} for member in members
    )
    return anchors, positives


def _neighbours(
    reader: PatchReader,
    pairs: list[Pair],
    groups: npt.NDArray[np.int64],
    anchors: dict[str, Features],
    positives: dict[str, Features],
    seed: int,
) -> list[Neighbour]:
    chosen = choose_queries(groups, groups, seed)
    own = np.arange(len(pairs))[None, :] == np.asarray(chosen)[:, None]
    allowed = own | (groups[chosen][:, None] != groups[None, :])

    def item(index: int, member: Member) -> Item:
        pair = pairs[index]
        return Item(pair.video, "", reader.jpeg(pair.shard, pair.row, member))

    return neighbour_rows(
        chosen,
        anchors,
        positives,
        allowed,
        own,
        lambda index: item(index, "anchor"),
        lambda index: item(index, "positive"),
    )


def _numbered(names: list[str]) -> npt.NDArray[np.int64]:
    """Each name as the number of its place among the sorted distinct names."""
    return np.unique(np.asarray(names, np.str_), return_inverse=True)[1].astype(np.int64)
