"""Classes of labelled boxes: a linear probe from train to held-out videos, and retrieval across held-out videos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from storage.keys import JSON
from tasks.evaluate.context import Context, Result
from tasks.evaluate.features import load_extractors
from tasks.evaluate.labels import labelled_crops, read_labels, sample_labels
from tasks.evaluate.neighbours import Item, Neighbour, choose_queries, neighbour_rows
from tasks.evaluate.pairs import read_pairs
from tasks.evaluate.pictures import encode_jpeg
from tasks.evaluate.probe import fit_probe
from tasks.evaluate.scores import Score, no_score, score_rows
from tasks.evaluate.search import Features, chance_average_precision, class_retrieval

NAME = "classification"
DEPTH = 10
_METRICS = ("accuracy", f"precision@{DEPTH}", "mAP")
_PROBE_NOTE = "linear probe on the frozen backbone"
_RETRIEVAL_NOTE = "backbone, cosine; query and gallery from different held-out videos"


def run(context: Context) -> Result:
    """Accuracy of a linear probe, precision at 10 and mean average precision of classes across videos.

    The probe learns from labelled crops of train videos and is asked about crops of held-out videos; retrieval
    stays within the held-out ones. A video with labels but no tracks has no split: it is skipped and counted.
    """
    crops, counts = _crops(context)
    held_out, train = crops.of("held_out"), crops.of("train")
    counts |= {"crops_train": len(train.classes), "crops_held_out": len(held_out.classes)}
    known = np.isin(held_out.classes, train.classes)
    counts["crops_of_unknown_class"] = int((~known).sum())
    held_out = held_out.rows(known)
    reason = ""
    if len(set(train.classes.tolist())) < 2:
        reason = "fewer than two classes in train videos"
    elif not len(held_out.classes):
        reason = "no labelled crop of a known class in a held-out video"
    if reason:
        return Result([no_score(NAME, metric, reason, len(held_out.classes)) for metric in _METRICS], counts=counts)
    context.progress(0, 1, "linear probes")
    scores, strengths = _probe_scores(context, train, held_out)
    scores += _retrieval_scores(context, held_out)
    context.progress(1, 1, "linear probes")
    facts: dict[str, JSON] = {"classes": crops.names, "strengths": strengths}
    return Result(scores, _neighbours(held_out, crops.names, context.seed), counts, facts)


@dataclass(frozen=True)
class Crops:
    """Labelled crops as features (N, F) by kind; `classes` and `groups` (N,) number names and near-duplicates."""

    features: Mapping[str, Features]
    classes: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    splits: npt.NDArray[np.str_]
    videos: npt.NDArray[np.str_]
    jpegs: list[bytes]
    names: list[str]

    def rows(self, mask: npt.NDArray[np.bool_]) -> Crops:
        """The rows that a mask (N,) keeps."""
        return Crops(
            {name: features[mask] for name, features in self.features.items()},
            self.classes[mask],
            self.groups[mask],
            self.splits[mask],
            self.videos[mask],
            [jpeg for jpeg, kept in zip(self.jpegs, mask.tolist(), strict=True) if kept],
            self.names,
        )

    def of(self, split: str) -> Crops:
        return self.rows(self.splits == split)


def _crops(context: Context) -> tuple[Crops, dict[str, int]]:
    """The sampled crops of all videos that have a split; features are taken video by video, pixels let go."""
    labels, left_out = read_labels(context.data, context.config.classification_min_visibility)
    pairs = read_pairs(context.root, context.tracks)
    split_of = {pair.video: pair.split for pair in pairs}
    group_of = {pair.video: pair.group for pair in pairs}
    most = context.config.classification_crops_per_video
    sampled = {
        video: sample_labels(entries, most, context.seed) for video, entries in labels.items() if video in split_of
    }
    left_out["labelled_videos_without_split"] = len(labels) - len(sampled)
    extractors = load_extractors(context.judged, "backbone", context.device)
    parts: dict[str, list[Features]] = {name: [] for name in extractors}
    rows: list[tuple[str, str]] = []  # class and video
    jpegs: list[bytes] = []
    for done, (video, kept, crops) in enumerate(labelled_crops(context.root, sampled, context.judged.side_px), start=1):
        left_out["labels_undecodable"] += len(sampled[video]) - len(kept)
        if kept:
            images = np.stack(crops)
            for name, extract in extractors.items():
                parts[name].append(extract(images))
            rows += [(label.name, video) for label in kept]
            held_out = split_of[video] == "held_out"
            jpegs += [encode_jpeg(crop) if held_out else b"" for crop in crops]
        context.progress(done, len(sampled), "labelled videos")
    names, groups = sorted({name for name, _ in rows}), sorted({group_of[video] for _, video in rows})
    gathered = Crops(
        {name: np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32) for name, blocks in parts.items()},
        np.asarray([names.index(name) for name, _ in rows], np.int64),
        np.asarray([groups.index(group_of[video]) for _, video in rows], np.int64),
        np.asarray([split_of[video] for _, video in rows], np.str_),
        np.asarray([video for _, video in rows], np.str_),
        jpegs,
        names,
    )
    return gathered, dict(_nonzero(left_out))


def _probe_scores(context: Context, train: Crops, held_out: Crops) -> tuple[list[Score], dict[str, JSON]]:
    right: dict[str, npt.NDArray[np.float64]] = {}
    strengths: dict[str, JSON] = {}
    for name, features in train.features.items():
        model, strengths[name] = fit_probe(features, train.classes, train.groups)
        right[name] = (model.predict(held_out.features[name]) == held_out.classes).astype(np.float64)
    commonest = np.bincount(train.classes).argmax()
    guess = max(1 / len(np.unique(train.classes)), float((held_out.classes == commonest).mean()))
    rows = score_rows(
        NAME,
        "accuracy",
        right,
        held_out.groups,
        samples=context.config.bootstrap_samples,
        chance=guess,
        note=_PROBE_NOTE,
    )
    return rows, strengths


def _retrieval_scores(context: Context, held_out: Crops) -> list[Score]:
    measured = {
        name: class_retrieval(features, held_out.classes, held_out.groups, DEPTH)
        for name, features in held_out.features.items()
    }
    kept = ~np.isnan(measured["trained"][0])
    if not kept.any():
        reason = "no class is seen in two independent held-out videos"
        return [no_score(NAME, metric, reason) for metric in _METRICS[1:]]
    precise, averaged = _guesses(held_out.classes, held_out.groups, kept)
    rows: list[Score] = []
    for place, (metric, chance) in enumerate(zip(_METRICS[1:], (precise, averaged), strict=True)):
        rows += score_rows(
            NAME,
            metric,
            {name: values[place][kept] for name, values in measured.items()},
            held_out.groups[kept],
            samples=context.config.bootstrap_samples,
            chance=chance,
            note=_RETRIEVAL_NOTE,
        )
    return rows


def _guesses(
    classes: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """The mean precision and average precision of a gallery in random order, over the kept queries."""
    in_class = Counter(classes.tolist())
    in_group = Counter(groups.tolist())
    in_both = Counter(zip(classes.tolist(), groups.tolist(), strict=True))
    precise, averaged = [], []
    for each, group in zip(classes[kept].tolist(), groups[kept].tolist(), strict=True):
        relevant, gallery = in_class[each] - in_both[each, group], len(classes) - in_group[group]
        precise.append(relevant / gallery)
        averaged.append(chance_average_precision(relevant, gallery))
    return float(np.mean(precise)), float(np.mean(averaged))


def _neighbours(held_out: Crops, names: list[str], seed: int) -> list[Neighbour]:
    chosen = choose_queries(held_out.classes, held_out.groups, seed)
    allowed = held_out.groups[chosen][:, None] != held_out.groups[None, :]
    relevant = held_out.classes[chosen][:, None] == held_out.classes[None, :]

    def item(index: int) -> Item:
        return Item(str(held_out.videos[index]), names[int(held_out.classes[index])], held_out.jpegs[index])

    return neighbour_rows(chosen, held_out.features, held_out.features, allowed, relevant, item, item)


def _nonzero(counts: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counts.items()) if count}
