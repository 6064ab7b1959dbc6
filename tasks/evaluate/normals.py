"""Surface normals: networks fine-tuned from their convolutions to predict them, as on NYUv2."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from storage.tables import table_bytes
from tasks.evaluate import FEATURES
from tasks.evaluate.angles import Angles, angles_between, statistics, summarise
from tasks.evaluate.codewords import cell_normals, classes_of, codebook, decoded, spread, unit
from tasks.evaluate.context import Context, Result
from tasks.evaluate.depth import Mask, Normals
from tasks.evaluate.fitting import Grid, Samples, fit
from tasks.evaluate.nyu import OFFICIAL, Observed, View, Views, axes_order, find_views, read_view
from tasks.evaluate.pictures import encode_jpeg, resized
from tasks.evaluate.scores import Score, statistic_rows
from tasks.evaluate.spill import Spill
from tasks.networks.images import to_tensor
from tasks.networks.pictures import Unreadable

_log = logging.getLogger(__name__)

NAME = "normals"
SHOWN = 6  # test images of which pictures are kept, drawn by the seed
_PICTURE_PX = 240
_WORDS_FROM = 20_000  # normals, drawn evenly from the training images

PICTURE_SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        ("features", pa.string()),  # image, truth, or whose prediction
        ("mean_angle", pa.float64()),  # degrees, of the prediction
        ("jpeg", pa.binary()),  # red, green and blue grow to the right, upwards and to the camera; black: unknown
    ]
)

Predict = Callable[[Observed], Normals]


def run(context: Context) -> Result:
    """Mean, median and root mean square of the angles, and the shares below 11.25, 22.5 and 30 degrees.

    Over all known pixels of the test images together; intervals draw images. Beside the fine-tuned networks, of which
    the untrained one learns from scratch: `constant`, the mean normal everywhere, and `by_place`, the mean normal of
    each cell of the grid. An image that cannot be read is left out and counted. Raises ValueError, in one line, for a
    folder that is not in the format, or without a usable image for training or test.
    """
    config = context.config
    order = axes_order(config.normals_axes)
    views = find_views(Path(context.data))
    reader = _Reader(order, config.normals_window_px, Counter())
    with tempfile.TemporaryDirectory(prefix="tritrack-normals-") as folder:
        seen = _training(context, views.train, reader, Path(folder))
        predictors = _predictors(context, seen)
    angles, pictures = _test(context, views.test, reader, predictors)
    counts = Counter(reader.left_out) + Counter(images_missing=views.missing)
    counts |= {"images_train": len(seen.cells), "images_test": len(angles["constant"])}
    return Result(
        _scores(context, angles, _subset(views, counts)),
        counts=dict(sorted(counts.items())),
        facts={"parted": views.told},
        files={"pictures.parquet": table_bytes(pictures, PICTURE_SCHEMA)},
    )


@dataclass(frozen=True)
class _Reader:
    """Reads views; counts what it leaves out."""

    order: list[tuple[int, float]]
    window_px: int
    left_out: Counter[str]

    def read(self, view: View) -> Observed | None:
        """The view, or None where it cannot be read, counted."""
        try:
            return read_view(view, self.order, self.window_px)
        except Unreadable as error:
            self.left_out["images_unreadable"] += 1
            _log.warning("normals: %s is left out: %s", view.name, error)
            return None


@dataclass(frozen=True)
class _Training:
    """Images by the side that a network takes, (N, side, side, 3), in files; mean normals of their cells; the words."""

    images: Mapping[int, npt.NDArray[np.uint8]]
    cells: npt.NDArray[np.float32]  # (N, GRID, GRID, 3)
    words: npt.NDArray[np.float32]
    mean: npt.NDArray[np.float32]  # (3,)


def _training(context: Context, views: list[View], reader: _Reader, folder: Path) -> _Training:
    sides = {_side(context, kind) for kind in context.judged.networks}
    images = {side: Spill(folder / str(side)) for side in sides}
    cells: list[Normals] = []
    drawn: list[Normals] = []
    total = np.zeros(3)
    rng = np.random.default_rng(context.seed)
    for done, view in enumerate(views):
        context.progress(done, len(views), "training images")
        if (observed := reader.read(view)) is None:
            continue
        if not observed.known.any():
            reader.left_out["images_without_normals"] += 1
            continue
        for side, rows in images.items():
            rows.add(_squeezed(observed.image, side)[None])
        cells.append(cell_normals(observed.normals, observed.known))
        known = observed.normals[observed.known]
        drawn.append(known[rng.integers(len(known), size=max(1, _WORDS_FROM // len(views)))])
        total += known.sum(axis=0, dtype=np.float64)
    if not cells:
        raise ValueError(
            f"evaluate.nyu: {context.data!r} holds no usable training image ({len(views)} cannot be read); "
            "name a folder in the format of NYUv2, or leave it empty to run without"
        )
    words = codebook(np.concatenate(drawn), context.seed)
    kept = {side: np.asarray(rows.mapped(), np.uint8) for side, rows in images.items()}
    return _Training(kept, np.stack(cells), words, unit(total.astype(np.float32)))


def _predictors(context: Context, seen: _Training) -> Mapping[str, Predict]:
    """How each kind of features predicts the normals of an image, at the size of its truth."""
    config = context.config
    mirrored = seen.cells[:, :, ::-1] * np.array([-1, 1, 1], np.float32)
    classes = classes_of(np.stack([seen.cells, mirrored], axis=1), seen.words)
    predictors: dict[str, Predict] = {}
    for kind, network in context.judged.networks.items():
        samples = Samples(seen.images[_side(context, kind)], classes)
        model = fit(
            network,
            samples,
            hidden=config.normals_hidden,
            steps=config.normals_steps,
            batch_images=config.normals_batch_images,
            learning_rate=config.normals_learning_rate,
            seed=context.seed,
            device=context.device,
            progress=_telling(context, kind),
        )
        predictors[kind] = _network_predictor(model, samples.images.shape[1], seen.words, context.device)
    by_place = unit(seen.cells.sum(axis=0))
    by_place[~by_place.any(axis=2)] = seen.mean
    predictors["constant"] = lambda observed: np.broadcast_to(seen.mean, observed.normals.shape)
    predictors["by_place"] = lambda observed: spread(by_place, observed.known.shape)
    return predictors


def _telling(context: Context, kind: str) -> Callable[[int, int], None]:
    return lambda done, total: context.progress(done, total, f"fine-tuning, {kind}")


def _network_predictor(model: Grid, side_px: int, words: npt.NDArray[np.float32], device: torch.device) -> Predict:
    def predict(observed: Observed) -> Normals:
        with torch.inference_mode():
            scores = model(to_tensor(_squeezed(observed.image, side_px)[None]).to(device))[0]
            shares = scores.float().softmax(dim=0).permute(1, 2, 0).cpu().numpy()
        return decoded(shares, words, observed.known.shape)

    return predict


def _test(
    context: Context, views: list[View], reader: _Reader, predictors: Mapping[str, Predict]
) -> tuple[dict[str, list[Angles]], list[dict[str, Any]]]:
    """The angles of every test image by kind, and rows of pictures of some."""
    shown = set(np.random.default_rng(context.seed).permutation(len(views))[:SHOWN].tolist())
    angles: dict[str, list[Angles]] = {kind: [] for kind in predictors}
    pictures: list[dict[str, Any]] = []
    for done, view in enumerate(views):
        context.progress(done, len(views), "test images")
        if (observed := reader.read(view)) is None:
            continue
        if done in shown:
            truth = draw_normals(observed.normals, observed.known)
            pictures += [_picture(view, "image", observed.image), _picture(view, "truth", truth)]
        for kind, predict in predictors.items():
            predicted = predict(observed)
            angles[kind].append(summarise(angles_between(predicted[observed.known], observed.normals[observed.known])))
            if done in shown and kind != "constant":
                drawn = draw_normals(predicted, np.ones_like(observed.known))
                pictures.append(_picture(view, kind, drawn, angles[kind][-1].mean))
    context.progress(len(views), len(views), "test images")
    if not angles["constant"]:
        raise ValueError(
            f"evaluate.nyu: {context.data!r} holds no usable test image ({len(views)} cannot be read); "
            "name a folder in the format of NYUv2, or leave it empty to run without"
        )
    return angles, pictures


def draw_normals(normals: Normals, known: Mask) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB: red, green and blue grow to the right, upwards and to the camera; black where unknown."""
    shown = (normals * np.array([1, -1, -1], np.float32) + 1) * 127.5
    return np.where(known[..., None], np.rint(shown), 0).astype(np.uint8)


def _picture(view: View, kind: str, picture: npt.NDArray[np.uint8], mean_angle: float | None = None) -> dict[str, Any]:
    jpeg = encode_jpeg(resized(picture, _PICTURE_PX)[0])
    return {"image": view.name, "features": kind, "mean_angle": mean_angle, "jpeg": jpeg}


def _scores(context: Context, angles: Mapping[str, list[Angles]], subset: str) -> list[Score]:
    by_kind = {kind: statistics(angles[kind]) for kind in FEATURES if kind in angles}
    rows: list[Score] = []
    for metric in next(iter(by_kind.values())):
        rows += statistic_rows(
            NAME,
            metric,
            {kind: found[metric] for kind, found in by_kind.items()},
            len(angles["constant"]),
            samples=context.config.bootstrap_samples,
            note="fine-tuned from the convolutions, untrained: from scratch; over all known pixels",
            subset=subset,
            unit="share" if metric.startswith("below") else "degrees",
        )
    return rows


def _subset(views: Views, counts: Mapping[str, int]) -> str:
    used = (counts["images_train"], counts["images_test"])
    if views.whole and used == OFFICIAL:
        return ""
    train, test = OFFICIAL
    return f"{used[1]} test and {used[0]} training images ({views.told}), not the {test} and {train} of the set"


def _side(context: Context, kind: str) -> int:
    return context.config.normals_input_px or context.judged.specs[kind].input_px


def _squeezed(image: npt.NDArray[np.uint8], side_px: int) -> npt.NDArray[np.uint8]:
    """The whole image as a square, as the authors' network takes it."""
    return np.asarray(cv2.resize(image, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
