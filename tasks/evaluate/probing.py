"""What frozen features tell of the classes of images: a linear probe of every layer, and the nearest neighbours."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from storage.keys import JSON
from tasks.evaluate.context import Context
from tasks.evaluate.features import BACKBONE, BATCH_IMAGES, LayerExtractor, load_layer_extractors
from tasks.evaluate.ridge import Metric, Scores, draw_halves, fit_probe
from tasks.evaluate.search import Features, nearest_rows
from tasks.evaluate.spill import Spill
from tasks.records import Progress

NUM_NEIGHBOURS = 20
LINEAR, NEIGHBOURS = "linear probe", f"{NUM_NEIGHBOURS}-NN"

Part = tuple[str, str]
"""A probe and a layer."""

Images = npt.NDArray[np.uint8]  # (N, S, S, 3), RGB; may be mapped from disk
Labels = npt.NDArray[np.int8]  # (N, C): 1 with the class, -1 without, 0 where it does not count


@dataclass(frozen=True)
class Labelled:
    """Images of squares and their labels."""

    images: Images
    labels: Labels


@dataclass(frozen=True)
class Probed:
    """Scores (N, C) of the test images, by probe and layer and then by kind of features.

    The layer of hand-made features is that of the backbone; neighbours are asked of that alone. `strengths`: of the
    penalty that was chosen, by kind and layer.
    """

    scores: dict[Part, dict[str, Scores]] = field(default_factory=dict)
    strengths: dict[str, JSON] = field(default_factory=dict)


def probe_layers(context: Context, train: Labelled, test: Labelled, most: int, metric: Metric) -> Probed:
    """Probe every layer of every kind of features, a kind at a time; features lie on disk meanwhile.

    `most`: features of a layer; `metric`: by which the strength is chosen between halves of the training images, that
    the seed draws.
    """
    halves = draw_halves(len(train.images), context.seed)
    # A label that does not count pulls neither way.
    counted = train.labels != 0
    means = (train.labels * counted).sum(axis=0) / np.maximum(counted.sum(axis=0), 1)
    targets = np.where(counted, train.labels, means).astype(np.float32)
    probed = Probed()
    extractors = load_layer_extractors(context.judged, most, context.device)
    for kind, extract in extractors.items():
        with tempfile.TemporaryDirectory(prefix="tritrack-layers-") as folder:
            learned = extract_layers(train.images, extract, Path(folder) / "train", context.progress, kind)
            asked = extract_layers(test.images, extract, Path(folder) / "test", context.progress, kind)
            strengths: dict[str, JSON] = {}
            for done, (layer, features) in enumerate(learned.items()):
                context.progress(done, len(learned), f"{kind}: probes")
                probe = fit_probe(features, targets, halves, metric)
                strengths[layer] = probe.strength
                probed.scores.setdefault((LINEAR, layer), {})[kind] = probe.scores(asked[layer])
            probed.strengths[kind] = strengths
            votes = neighbour_votes(learned[BACKBONE], train.labels, asked[BACKBONE])
            probed.scores.setdefault((NEIGHBOURS, BACKBONE), {})[kind] = votes
    return probed


def ordered(parts: Iterable[Part]) -> list[Part]:
    """Probes and layers as they are told: the backbone's linear probe, its neighbours, then layer by layer."""
    return [(LINEAR, BACKBONE), (NEIGHBOURS, BACKBONE), *(part for part in parts if part[1] != BACKBONE)]


def part_of(probe: str, layer: str) -> str:
    """What a metric's name is continued by; nothing for the backbone's linear probe, which leads."""
    if probe == NEIGHBOURS:
        return f", {NEIGHBOURS}"
    return "" if layer == BACKBONE else f", {layer}"


def note_of(probe: str, layer: str) -> str:
    """A probe in words."""
    if probe == NEIGHBOURS:
        return f"{NUM_NEIGHBOURS} nearest neighbours by the frozen {layer}, weighted by cosine"
    return f"linear probe on the frozen {layer}"


def extract_layers(
    images: Images, extract: LayerExtractor, folder: Path, progress: Progress, kind: str
) -> Mapping[str, Features]:
    """The features (N, F) of images by layer, mapped from files of a folder that is made."""
    folder.mkdir()
    spills: dict[str, Spill] = {}
    for first in range(0, len(images), BATCH_IMAGES):
        progress(first, len(images), f"{kind}: features")
        for layer, found in extract(np.array(images[first : first + BATCH_IMAGES])).items():
            if layer not in spills:
                spills[layer] = Spill(folder / f"{len(spills)}.raw")
            spills[layer].add(found)
    return {layer: np.asarray(spill.mapped(), np.float32) for layer, spill in spills.items()}


def neighbour_votes(learned: Features, labels: Labels, asked: Features) -> Scores:
    """(N, C): the summed cosines of those of a query's nearest neighbours that have the class."""
    rows, cosines = nearest_rows(asked, learned, NUM_NEIGHBOURS)
    votes = np.zeros((len(asked), labels.shape[1]), np.float32)
    for rank in range(rows.shape[1]):
        votes += cosines[:, rank, None] * (labels[rows[:, rank]] > 0)
    return votes
