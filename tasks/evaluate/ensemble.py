"""Ensembles of detectors: the scores of the same proposals averaged over several networks, beside each alone."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, damaged, require_manifest
from storage.root import Root, hash_file
from storage.tables import table_bytes
from tasks.evaluate import FEATURES
from tasks.evaluate.benchmark import commit_result
from tasks.evaluate.config import EvaluateConfig
from tasks.evaluate.context import Result
from tasks.evaluate.detection import method_note, read_setting
from tasks.evaluate.detections import DETECTIONS_SCHEMA, RegionScores, Row, Tally
from tasks.evaluate.scores import Score
from tasks.evaluate.windows import Annotated, read_annotated
from tasks.records import Progress, no_progress

NAME = "detection ensemble"
_ROWS_AT_ONCE = 16
_OTHER_DEVKIT = "give the devkit that they were measured on, and their settings"
# What the units must share, so that a row of one is that of another: the inputs, and what draws images and proposals.
_SAME_INPUTS = ("proposals", "voc")
_SAME_PARAMETERS = (
    "detection_train_split",
    "detection_test_split",
    "detection_train_images",
    "detection_test_images",
    "detection_proposals",
)


def run_ensemble(
    root: Root,
    units: Sequence[str],
    data: str,
    config: EvaluateConfig,
    seed: int,
    document: KeyDocument,
    device: str = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Average the detections of detection units (keys) and commit the scores, as a benchmark's.

    `data`: the devkit; `config` and `seed`: those of the units. `device` is taken as from every unit of the stage, and
    not used. Raises ValueError, in one line, for units that do not go together, RootError for one that is missing.
    """
    started = time.monotonic()
    result = ensemble(root, units, data, config, seed, progress)
    return commit_result(root, document, result, time.monotonic() - started, "cpu")


def ensemble(
    root: Root,
    units: Sequence[str],
    data: str,
    config: EvaluateConfig,
    seed: int,
    progress: Progress = no_progress,
) -> Result:
    """Rows as those of the single models, of their averaged scores, then each model's mean average precision alone."""
    manifests = [require_manifest(root, "evaluate", key) for key in sorted(units)]
    proposals = _shared_proposals(manifests)
    devkit = Path(data)
    setting = read_setting(config, devkit, seed)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="tritrack-ensemble-") as folder:
        files = [_fetch(root, each, Path(folder) / f"{place}.parquet") for place, each in enumerate(manifests)]
        kinds = [kind for kind in FEATURES if all(kind in pq.read_schema(file).names for file in files)]
        together, *alone = [Tally(setting.classes, kinds) for _ in (None, *manifests)]
        rows: list[Row] = []
        images = read_annotated(
            root, devkit, proposals, setting.test, setting.classes, config.detection_proposals, counts
        )
        tables = [_stored_scores(file, kinds) for file in files]
        for image, *stored in zip(images, *tables, strict=False):
            scores = [_of_image(image, name, flat, len(setting.classes)) for name, flat in stored]
            for tally, of_model in zip(alone, scores, strict=True):
                tally.add(image, of_model)
            rows += together.add(image, {kind: _mean([each[kind] for each in scores]) for kind in kinds})
            progress(together.num_images, len(setting.test), "averaging")
        if any(pq.read_metadata(file).num_rows != together.num_images for file in files):
            raise ValueError(f"ensemble: the units hold scores of other images than {data!r}; {_OTHER_DEVKIT}")
    trained_on = [str(name) for name in _listed(manifests[0].facts["trained_on"])]

    def scored(tally: Tally, note: str) -> list[Score]:
        samples, subset = config.bootstrap_samples, setting.subset
        return tally.rows(NAME, trained_on, samples=samples, subset=subset, note=note)

    averaged = scored(together, f"{len(manifests)} models averaged; {method_note(config)}")
    for number, tally in enumerate(alone, start=1):
        single = scored(tally, method_note(config))
        named = f"model {number} of {len(manifests)}"
        averaged += [replace(row, metric=f"{row.metric}, {named}") for row in single if row.metric.startswith("mAP")]
    facts: dict[str, JSON] = {"classes": setting.classes, "models": [manifest.key for manifest in manifests]}
    files_of = {"detections.parquet": table_bytes(rows, DETECTIONS_SCHEMA)}
    return Result(averaged, counts={"images_test": together.num_images}, facts=facts, files=files_of)


def _shared_proposals(manifests: Sequence[Manifest]) -> list[str]:
    """The units of proposals that all detection units stand on."""
    if len(manifests) < 2:
        raise ValueError("ensemble: needs two detection units or more; run detection on another network")
    first = manifests[0]
    for other in manifests[1:]:
        apart = [name for name in _SAME_INPUTS if _inputs(first)[name] != _inputs(other)[name]]
        before, after = first.recipe, other.recipe
        apart += [name for name in _SAME_PARAMETERS if before.parameters[name] != after.parameters[name]]
        apart += ["seed"] if before.seed != after.seed else []
        if apart:
            raise ValueError(
                f"ensemble: units {first.key[:16]} and {other.key[:16]} differ in {', '.join(apart)}, so their regions "
                "are not the same; run detection again with the same settings"
            )
    return [str(key) for key in _listed(_inputs(first)["proposals"])]


def _inputs(manifest: Manifest) -> Mapping[str, JSON]:
    if manifest.recipe.variant.get("benchmark") != "detection":
        raise ValueError(f"ensemble: unit {manifest.key[:16]} is none of detection; give keys of detection units")
    inputs = manifest.document["inputs"]
    assert isinstance(inputs, Mapping), "a key document"
    return inputs


def _listed(value: JSON) -> Sequence[JSON]:
    assert isinstance(value, Sequence), "a list of names"
    return value


def _fetch(root: Root, manifest: Manifest, target: Path) -> Path:
    """The scores of a unit's regions as a local file, verified."""
    stored = manifest.files["region_scores.parquet"]
    root.download(stored.path, target)
    if hash_file(target)[0] != stored.sha256:
        raise damaged(stored.path)
    return target


def _stored_scores(file: Path, kinds: Sequence[str]) -> Iterator[tuple[str, dict[str, RegionScores]]]:
    """(image, scores by kind, flat) of each row."""
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(_ROWS_AT_ONCE, columns=["image", *kinds]):
            for row in range(len(batch)):
                scores = {kind: np.asarray(batch[kind][row].values, np.float32) for kind in kinds}
                yield batch["image"][row].as_py(), scores


def _of_image(
    image: Annotated, name: str, scores: Mapping[str, RegionScores], num_classes: int
) -> dict[str, RegionScores]:
    """The scores as (P, C)."""
    shape = (len(image.proposals), num_classes)
    if name != image.name or any(flat.size != shape[0] * shape[1] for flat in scores.values()):
        raise ValueError(f"ensemble: the units hold scores of other regions than image {image.name!r}; {_OTHER_DEVKIT}")
    return {kind: flat.reshape(shape) for kind, flat in scores.items()}


def _mean(scores: Sequence[RegionScores]) -> RegionScores:
    return np.asarray(np.stack(scores).mean(axis=0), np.float32)
