"""Label propagation: masks of a video's first frame, carried through it by frozen features, as on DAVIS 2017."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from storage.tables import table_bytes
from tasks.evaluate import FEATURES
from tasks.evaluate.context import Context, Result
from tasks.evaluate.correspondence import Follower, cell_labels, mask_of
from tasks.evaluate.davis import OFFICIAL, Sequence, Step, find_sequences, read_steps
from tasks.evaluate.dense import SIDE_MULTIPLE, Dense, load_dense
from tasks.evaluate.frames import Frame
from tasks.evaluate.pictures import draw_masks, encode_jpeg
from tasks.evaluate.scores import Score, score_rows
from tasks.evaluate.segmentation import boundary_accuracy, region_similarity

_log = logging.getLogger(__name__)

NAME = "propagation"
METRICS = ("J&F", "J", "F")
SHOWN = 4  # sequences of which pictures are kept, drawn by the seed
_PICTURE_PX = 320
_MOST_ASPECT = 4  # of a frame at full size; no file of a few bytes may ask for gigabytes
_PICTURED = ("trained", "untrained", "supervised", "hog", "copied")

OBJECT_SCHEMA = pa.schema(
    [
        ("sequence", pa.string()),
        ("object", pa.int32()),
        ("features", pa.string()),
        ("region", pa.float64()),  # J, the mean over the scored frames
        ("boundary", pa.float64()),  # F
        ("frames", pa.int32()),
    ]
)
PICTURE_SCHEMA = pa.schema(
    [
        ("sequence", pa.string()),
        ("features", pa.string()),  # or truth
        ("place", pa.string()),  # first, middle or last
        ("frame", pa.string()),
        ("region", pa.float64()),  # J of this frame, the mean over its objects; null for the truth
        ("jpeg", pa.binary()),  # the frame with the objects drawn in
    ]
)


def run(context: Context) -> Result:
    """J, F and their mean by object, over every sequence of the folder's split.

    The first frame's mask is given; it and the last frame are not scored, and the mean is over objects, as the
    official davis2017-evaluation does it. `copied` is that first mask in every frame. A frame or mask that cannot be
    read is left out and counted, a sequence whose first one is, too. Raises ValueError, in one line, for a folder that
    is not in the format, or where no sequence can be scored.
    """
    config = context.config
    sequences, whole = find_sequences(Path(context.data), config.propagation_split)
    shown = set(np.random.default_rng(context.seed).permutation(len(sequences))[:SHOWN].tolist())
    extractors = load_dense(context.judged, config.propagation_layer, context.device)
    counts, followed = Counter[str](), list[_Followed]()
    for done, sequence in enumerate(sequences):
        context.progress(done, len(sequences), sequence.name)
        found = _follow(context, sequence, extractors, counts, done in shown)
        if found is not None:
            followed.append(found)
    context.progress(len(sequences), len(sequences), "sequences")
    if not followed:
        told = ", ".join(f"{number} {reason}" for reason, number in sorted(counts.items()))
        raise ValueError(
            f"evaluate.davis: {context.data!r} holds no sequence that can be scored ({told or 'none is there'}); "
            "name a folder in the format of DAVIS, or leave it empty to run without"
        )
    counts |= {"sequences": len(followed), "objects": sum(len(one.objects) for one in followed)}
    subset = "" if whole and len(followed) == OFFICIAL else f"{len(followed)} sequences, not all {OFFICIAL} of the set"
    files = {
        "objects.parquet": table_bytes([row for one in followed for row in one.rows()], OBJECT_SCHEMA),
        "pictures.parquet": table_bytes([row for one in followed for row in one.pictures], PICTURE_SCHEMA),
    }
    return Result(_scores(context, followed, subset), counts=dict(sorted(counts.items())), files=files)


class _Followed:
    """One sequence, whose objects are followed by every kind of features, a frame at a time.

    `predicted`: the newest mask by kind. `sums`: (objects, 2) of J and F over the scored frames, by kind.
    """

    def __init__(
        self, context: Context, name: str, image: Frame, mask: npt.NDArray[np.uint8], extractors: Mapping[str, Dense]
    ) -> None:
        self.name = name
        self.objects = [int(number) for number in np.unique(mask) if number]
        self._size = _working_size(mask.shape, context.config.propagation_side_px)
        self._extractors = extractors
        frame = _scaled(image, self._size)
        self._followers = {
            kind: _follower(context, extract(frame), mask, self.objects) for kind, extract in extractors.items()
        }
        self.predicted = dict.fromkeys((*extractors, "copied"), mask)
        self.sums = {kind: np.zeros((len(self.objects), 2)) for kind in self.predicted}
        self.frames = 0
        self.pictures: list[dict[str, Any]] = []

    @property
    def shape(self) -> tuple[int, ...]:
        return self.predicted["copied"].shape

    def advance(self, image: Frame) -> None:
        """Carry the masks on to the next frame."""
        frame = _scaled(image, self._size)
        for kind, follower in self._followers.items():
            labels = follower.follow(self._extractors[kind](frame))
            self.predicted[kind] = mask_of(labels, self.objects, (self.shape[0], self.shape[1]))

    def score(self, mask: npt.NDArray[np.uint8]) -> None:
        """Count the newest masks against the truth."""
        self.frames += 1
        for kind, predicted in self.predicted.items():
            self.sums[kind] += _measures(predicted, mask, self.objects)

    def means(self, kind: str) -> npt.NDArray[np.float64]:
        return self.sums[kind] / self.frames

    def rows(self) -> list[dict[str, Any]]:
        """Rows of OBJECT_SCHEMA."""
        return [
            {
                "sequence": self.name,
                "object": number,
                "features": kind,
                "region": float(region),
                "boundary": float(boundary),
                "frames": self.frames,
            }
            for kind in self.sums
            for number, (region, boundary) in zip(self.objects, self.means(kind), strict=True)
        ]


def _follow(
    context: Context, sequence: Sequence, extractors: Mapping[str, Dense], counts: Counter[str], shown: bool
) -> _Followed | None:
    """A sequence followed to its end; None, counted, where it cannot be scored."""
    names = list(sequence.masks)
    pictured = (("first", 0), ("middle", len(names) // 2), ("last", -1)) if shown and names else ()
    places = {names[at]: place for place, at in pictured}
    found: _Followed | None = None
    for step in read_steps(sequence):
        for what, read in (("frames", step.image), ("masks", step.mask)):
            if read is None:
                counts[f"{what}_unreadable"] += 1
                _log.warning("propagation: of %s of %s, %s cannot be read; left out", what, sequence.name, step.name)
        if found is None:
            if step.image is None or step.mask is None or not step.mask.any():
                break
            found = _Followed(context, sequence.name, step.image, step.mask, extractors)
        elif step.image is not None:
            found.advance(step.image)
            if step.mask is not None and step.mask.shape != found.shape:
                counts["masks_of_another_size"] += 1
            elif step.mask is not None and step.name != names[-1]:
                found.score(step.mask)
        if step.name in places:
            found.pictures += _pictures(step, places[step.name], found)
    if found is None or not found.frames:
        counts["sequences_left_out"] += 1
        why = "no frame after its first can be scored" if found else "its first frame or mask is missing or empty"
        _log.warning("propagation: sequence %s is left out: %s", sequence.name, why)
        return None
    return found


def _follower(context: Context, features: torch.Tensor, mask: npt.NDArray[np.uint8], objects: list[int]) -> Follower:
    config = context.config
    height, width = features.shape[1:]
    return Follower(
        features,
        cell_labels(mask, objects, (height, width)).to(features.device),
        top_k=config.propagation_top_k,
        radius=config.propagation_radius,
        num_frames=config.propagation_frames,
        temperature=config.propagation_temperature,
    )


def _measures(
    predicted: npt.NDArray[np.uint8], truth: npt.NDArray[np.uint8], objects: list[int]
) -> npt.NDArray[np.float64]:
    """(objects, 2): J and F of each."""
    pairs = [(predicted == number, truth == number) for number in objects]
    return np.array([(region_similarity(*pair), boundary_accuracy(*pair)) for pair in pairs])


def _scores(context: Context, followed: list[_Followed], subset: str) -> list[Score]:
    clusters = np.repeat(np.arange(len(followed)), [len(one.objects) for one in followed])
    measured = {
        kind: np.concatenate([one.means(kind) for one in followed]) for kind in FEATURES if kind in followed[0].sums
    }
    rows: list[Score] = []
    for metric, weights in zip(METRICS, ((0.5, 0.5), (1, 0), (0, 1)), strict=True):
        rows += score_rows(
            NAME,
            metric,
            {kind: values @ np.array(weights) for kind, values in measured.items()},
            clusters,
            samples=context.config.bootstrap_samples,
            chance=None,
            note="frozen features, the first mask given; copied: that mask in every frame",
            cluster="sequence",
            subset=subset,
        )
    return rows


def _pictures(step: Step, place: str, found: _Followed) -> list[dict[str, Any]]:
    """The truth and what each pictured kind made of it, where the step has both."""
    if step.image is None or step.mask is None or step.mask.shape != found.shape:
        return []
    shown = {"truth": step.mask, **{kind: found.predicted[kind] for kind in _PICTURED if kind in found.predicted}}
    return [
        {
            "sequence": found.name,
            "features": kind,
            "place": place,
            "frame": step.name,
            "region": float(_measures(mask, step.mask, found.objects)[:, 0].mean()) if kind != "truth" else None,
            "jpeg": encode_jpeg(draw_masks(step.image, mask, _PICTURE_PX)),
        }
        for kind, mask in shown.items()
    ]


def _working_size(shape: tuple[int, ...], side_px: int) -> tuple[int, int]:
    """Height and width, multiples of `SIDE_MULTIPLE`, of which the shorter one is about `side_px`; less for a strip."""
    scale = min(side_px / min(shape[:2]), _MOST_ASPECT * side_px / max(shape[:2]))
    height, width = (max(1, round(side * scale / SIDE_MULTIPLE)) * SIDE_MULTIPLE for side in shape[:2])
    return height, width


def _scaled(image: Frame, size: tuple[int, int]) -> Frame:
    shrinks = size[0] <= image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (size[1], size[0]), interpolation=interpolation), np.uint8)
