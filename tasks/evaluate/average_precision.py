"""Average precision as PASCAL VOC's devkit computes it, for boxes and for whole images.

Of boxes: widths count both end pixels (`tasks.voc.Box.edges`, ends left out, are those widths already); a detection
goes to the truth of its image and class that it overlaps most, and matches where that is strictly above `OVERLAP`;
each truth is found once, by the detection of the highest score, and every further one is a false positive; truths
that are `difficult` are not counted, and what matches them is ignored. This is `voc_eval.py` of Fast R-CNN (MIT), by
which the literature reports; equal scores keep the order in which they came.

Figures of COCO, such as torchmetrics' MeanAveragePrecision, are others: there the precision is read at 101 recalls
and not 11, overlaps from 0.5 to 0.95 are averaged unless told, an overlap of exactly the threshold matches, a
detection whose best truth is taken goes to the next best instead of being false, widths leave out the last pixel,
and an image gives at most 100 detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from tasks.bootstrap import Resampled

OVERLAP = 0.5  # intersection over union
# VOC 2007 reads at these recalls. They are the devkit's float steps: 0.30000000000000004 is above a recall of 3 / 10.
_RECALLS = np.arange(0.0, 1.1, 0.1)
TRUE, IGNORED, FALSE = 1, 0, -1  # the devkit's own numbers for images with, with only difficult, and without a class

_BLOCK_CELLS = 1 << 19  # true positives times draws held at once: 4 MB an array
_BLOCK = 1 << 14  # detections at a time: what is computed of them stays in the processor's cache

Matches = npt.NDArray[np.int8]  # (N,) of TRUE, IGNORED, FALSE


class AveragePrecision(NamedTuple):
    """`eleven`: the mean precision at 11 recalls (VOC 2007); `area`: under the whole curve (from VOC 2010 on)."""

    eleven: float
    area: float


@dataclass(frozen=True)
class Detections:
    """N boxes of one class.

    images: (N,) their images' numbers from 0; scores: (N,) any, no NaN; boxes: (N, 4) left, top, right, bottom in px.
    """

    images: npt.NDArray[np.int64]
    scores: npt.NDArray[np.floating]
    boxes: npt.NDArray[np.floating]


@dataclass(frozen=True)
class Truths:
    """M annotated boxes of one class; as `Detections`, and difficult: (M,)."""

    images: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.floating]
    difficult: npt.NDArray[np.bool_]

    def positives(self, num_images: int) -> npt.NDArray[np.int64]:
        """How many boxes of each image count (I,)."""
        return np.bincount(self.images[~self.difficult], minlength=num_images)


def match_detections(detections: Detections, truths: Truths) -> Matches:
    """What each detection is (N,): TRUE, FALSE, or IGNORED where it matches a difficult truth."""
    best = _best_truths(detections, truths)
    matches = np.full(len(best), FALSE, np.int8)
    (claims,) = np.nonzero(best >= 0)
    hard = truths.difficult[best[claims]]
    matches[claims[hard]] = IGNORED
    claims = claims[~hard]
    claims = claims[_descending(detections.scores[claims])]
    _, first = np.unique(best[claims], return_index=True)
    matches[claims[first]] = TRUE
    return matches


class Ranking:
    """Matches in the order of their scores, sorted once: the average precision of a draw of images sorts no more."""

    def __init__(
        self,
        images: npt.NDArray[np.int64],
        scores: npt.NDArray[np.floating],
        matches: Matches,
        positives: npt.NDArray[np.integer],
    ) -> None:
        """images, scores, matches: (N,); positives: (I,) how many truths of each image count, found or not.

        Of whole images that are classified, `images` is their numbers, and `positives` 1 where a class is TRUE.
        """
        # Behind the last true positive recall stands still and precision only falls.
        lowest = scores[matches == TRUE].min(initial=np.inf)
        (kept,) = np.nonzero((scores >= lowest) & (matches != IGNORED))
        order = kept[_descending(scores[kept])]
        (places,) = np.nonzero(matches[order] == TRUE)
        self._found = images[order[places]]
        self._positives = np.asarray(positives, np.float32)
        # Row i: how often each image stands from behind the true positive before to the i-th, it included.
        self._since = csr_array(
            (np.ones(len(order), np.float32), images[order], np.append(0, places + 1)),
            shape=(len(places), len(positives)),
        )

    def average_precision(self, draws: npt.NDArray[np.integer] | None = None) -> AveragePrecision:
        """Both forms; NaN where nothing is to be found.

        `draws` (I,): how often each image is counted, for the bootstrap; as if it stood there so often. Without: once.
        """
        one = np.ones(len(self._positives), np.float32) if draws is None else draws.astype(np.float32)
        eleven, area = self.average_precisions(one[:, None])[0]
        return AveragePrecision(float(eleven), float(area))

    def curve(self, most: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Recall and precision at up to `most` of the true positives, evenly chosen, from the highest score on."""
        total = float(self._positives.sum())
        if not len(self._found) or not total:
            return np.zeros(0), np.zeros(0)
        one = np.ones(len(self._positives), np.float32)
        found = np.arange(1, len(self._found) + 1)
        precision = found / (self._since @ one).cumsum(dtype=np.float64)
        places = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
        return found[places] / total, precision[places]

    def resampled(self, draws: npt.NDArray[np.float32]) -> dict[str, Resampled]:
        """By form (a field of `AveragePrecision`), the figure of all images and of every draw (I, S)."""
        whole, found = self.average_precision(), self.average_precisions(draws)
        return {form: Resampled(value, found[:, place]) for place, (form, value) in enumerate(whole._asdict().items())}

    def average_precisions(self, draws: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Of many draws, a column each (I, S), at once: both forms (S, 2), in a tenth of the time."""
        step = max(1, _BLOCK_CELLS // max(1, len(self._found)))
        blocks = [self._of_block(draws[:, first : first + step]) for first in range(0, draws.shape[1], step)]
        return np.concatenate(blocks) if blocks else np.zeros((0, 2))

    def _of_block(self, draws: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        total = (self._positives @ draws).astype(np.float64)
        figures = np.zeros((draws.shape[1], 2))
        figures[total == 0] = np.nan
        if not len(self._found):
            return figures
        found = draws[self._found].cumsum(axis=0, dtype=np.float64)
        seen = (self._since @ draws).cumsum(axis=0, dtype=np.float64)
        recall = found / np.maximum(total, 1)
        precision = found / np.maximum(seen, 1)  # before the first that is drawn: 0 of 0, which counts as none
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or any higher one
        area = (np.diff(recall, axis=0, prepend=0.0) * best).sum(axis=0)
        best = np.concatenate([best, np.zeros((1, draws.shape[1]))])
        reached = np.stack([(recall < each).sum(axis=0) for each in _RECALLS])
        eleven = np.take_along_axis(best, reached, axis=0).sum(axis=0) / len(_RECALLS)
        figures += np.stack([eleven, area], axis=1)
        return figures


def mean_over_classes(of_classes: Sequence[Resampled]) -> Resampled:
    """The mean over classes; a draw leaves out those of which it holds nothing, and is NaN where it holds none."""
    draws = np.ma.masked_invalid(np.stack([each.draws for each in of_classes]))
    return Resampled(float(np.mean([each.value for each in of_classes])), draws.mean(axis=0).filled(np.nan))


def _best_truths(detections: Detections, truths: Truths) -> npt.NDArray[np.int64]:
    """The truth that each detection matches (N,), the first of equals, or -1."""
    by_image = np.argsort(truths.images, kind="stable")
    num_images = 1 + int(max(detections.images.max(initial=-1), truths.images.max(initial=-1)))
    sizes = np.bincount(truths.images, minlength=num_images)
    starts = np.cumsum(sizes) - sizes
    columns = np.ascontiguousarray(np.asarray(truths.boxes, np.float64)[by_image].T)
    best = np.full(len(detections.images), -1, np.int64)
    for first in range(0, len(best), _BLOCK):
        block = slice(first, first + _BLOCK)
        images = detections.images[block]
        # One pass for the first truth of every image, one for the second, and so on.
        left, place = sizes[images], starts[images]
        boxes = np.ascontiguousarray(np.asarray(detections.boxes[block], np.float64).T)
        most, found = np.full(len(images), OVERLAP), best[block]
        for number in range(int(left.max(initial=0))):
            (rows,) = np.nonzero(left > number)
            places = place[rows] + number
            overlaps = _overlaps(boxes[:, rows], columns[:, places])
            (closer,) = np.nonzero(overlaps > most[rows])
            found[rows[closer]] = by_image[places[closer]]
            most[rows[closer]] = overlaps[closer]
    return best


def _overlaps(some: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes, pair by pair: (4, K) and (4, K) -> (K,)."""
    left, top, right, bottom = some
    other_left, other_top, other_right, other_bottom = others
    width = np.maximum(np.minimum(right, other_right) - np.maximum(left, other_left), 0)
    height = np.maximum(np.minimum(bottom, other_bottom) - np.maximum(top, other_top), 0)
    both = width * height
    other_area = (other_right - other_left) * (other_bottom - other_top)
    return np.asarray(both / ((right - left) * (bottom - top) + other_area - both))


def _descending(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
    return np.argsort(-scores, kind="stable")
