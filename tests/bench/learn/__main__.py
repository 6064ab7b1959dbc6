"""`make learn`: what a network learns from real video alone, judged on labelled images that it never saw.

    python -m tests.bench.learn [--seeds 3] [--recipes learn ranking ...] [--steps N] [--data FOLDER] [--root FOLDER]

Mines and trains with the command line program, on the clips of `videos` and `davis`; then, beside the same network
untrained and beside HOG with colour: linear classification of CIFAR-10 and of five classes of VOC 2007, and retrieval
of held-out pairs. What is done is kept in the root: a run that was ended goes on, and another recipe trains alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from storage.manifests import Manifest, require_manifest
from storage.root import Root, open_root
from storage.tables import read_table
from storage.versions import latest_version
from tasks.device import resolve_device
from tasks.evaluate.features import load_extractors
from tasks.evaluate.inputs import Inputs
from tasks.evaluate.judged import load_judged
from tests.bench.learn.images import VOC_CLASSES, read_cifar, read_voc
from tests.bench.learn.recipes import RECIPES
from tests.bench.learn.scoring import Task, classify, paired_interval, summary
from tests.real_data import PROJECT, real_data

KINDS = ("trained", "untrained", "hog")

Scores = NDArray[np.float64]
Runs = dict[str, list[Scores]]  # scores of the test images by kind of features, one a seed


def main() -> int:
    options = _options()
    console = Console(width=options.width)
    data, root = Path(options.data), Path(options.root).resolve()
    clips = _clips(data, root / "clips")
    rows: dict[str, dict[str, Runs]] = {}
    for name in options.recipes:
        begun = time.monotonic()
        units = [_train(root, clips, name, seed, options.steps) for seed in range(options.seeds)]
        console.print(f"{name}: mined and trained in {(time.monotonic() - begun) / 60:.1f} min", highlight=False)
        opened = open_root(str(root))
        tasks = _tasks(data)
        rows[name] = {task.name: _runs(opened, task, units) for task in tasks}
        for task in tasks:
            _print_task(console, task, name, rows[name][task.name])
        _print_retrieval(console, opened, name, options.seeds)
    if len(rows) > 1:
        _print_ingredients(console, tasks, rows)
    return 0


def _train(root: Path, clips: Path, recipe: str, seed: int, steps: int | None) -> Manifest:
    """Run all stages on the clips; the train unit of the data set's newest version."""
    dataset = f"{recipe}-{seed}"
    overrides = [f"{name}={json.dumps(value)}" for name, value in RECIPES[recipe].overrides(steps).items()]
    described = ["--root", str(root), "--dataset", dataset, "--sources", str(clips), "--set", f"seed={seed}"]
    described += ["--set", f"train.ranks={len(os.sched_getaffinity(0))}"]
    described += [part for override in overrides for part in ("--set", override)]
    command = [sys.executable, "-m", "flows.cli", "run", *described]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run of {dataset} failed: {done.stderr[-2000:]}{done.stdout[-2000:]}")
    opened = open_root(str(root))
    return require_manifest(opened, "train", latest_version(opened, dataset).units["train"].key)


def _tasks(data: Path) -> list[Task]:
    cifar, parts = read_cifar(data, "train"), [read_voc(data, part) for part in ("train", "val")]
    halves = np.random.default_rng(0).permutation(len(cifar)) % 2
    return [
        Task("CIFAR-10, accuracy", cifar, read_cifar(data, "test"), halves, one_class_an_image=True),
        Task(
            "VOC 2007, mAP of five classes",
            parts[0].joined(parts[1]),
            read_voc(data, "test"),
            np.repeat([0, 1], [len(part) for part in parts]),
            one_class_an_image=False,
        ),
    ]


def _runs(root: Root, task: Task, units: Sequence[Manifest]) -> Runs:
    """The test images' scores by each kind of features; HOG has no seed."""
    runs: Runs = {name: [] for name in KINDS}
    for number, unit in enumerate(units):
        extractors = load_extractors(load_judged(root, Inputs(train=unit.key)), "backbone", resolve_device("auto"))
        for name in KINDS if number == 0 else KINDS[:2]:
            runs[name].append(classify(task, extractors[name](task.train.images), extractors[name](task.test.images)))
    return runs


def _print_task(console: Console, task: Task, recipe: str, runs: Runs) -> None:
    table = Table(
        "features", "% (each seed)", "trained is above by", *([] if task.one_class_an_image else VOC_CLASSES),
        title=f"{task.name}: {recipe}, {len(task.test)} test images, 95 % paired bootstrap", title_justify="left",
    )  # fmt: skip
    for name in KINDS:
        above = "" if name == "trained" else "{:+.1f} ({:+.1f} to {:+.1f})".format(
            *(100 * value for value in paired_interval(task, runs["trained"], runs[name]))
        )  # fmt: skip
        classes = np.mean([task.per_class(scores) for scores in runs[name]], axis=0)
        cells = [] if task.one_class_an_image else [f"{100 * value:.0f}" for value in classes]
        table.add_row(name, summary(task, runs, name), above, *cells)
    console.print(table)


def _print_retrieval(console: Console, root: Root, recipe: str, seeds: int) -> None:
    """The scores of the evaluate stage, a mean over seeds; each has its interval in the run's own report."""
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(seeds):
        version = latest_version(root, f"{recipe}-{seed}")
        unit = require_manifest(root, "evaluate", version.units["evaluate/retrieval"].key)
        for row in read_table(root, unit.files["scores.parquet"]).to_pylist():
            if row["value"] is not None:
                found.setdefault((row["metric"], row["features"]), []).append(100 * row["value"])
    kinds = [*KINDS, "trained - untrained", "trained - hog"]
    table = Table("held-out pairs", *kinds, title=f"Retrieval: {recipe}, means of the seeds", title_justify="left")
    for metric in dict.fromkeys(metric for metric, _ in found):
        table.add_row(metric, *(f"{np.mean(found[metric, kind]):.1f}" for kind in kinds))
    console.print(table)


def _print_ingredients(console: Console, tasks: Sequence[Task], rows: Mapping[str, Mapping[str, Runs]]) -> None:
    """Each recipe beside the first, paired over images."""
    first = next(iter(rows))
    table = Table(
        "recipe", "what changes", *(part for task in tasks for part in (task.name, f"less than {first} by")),
        title="Ingredients, 95 % paired bootstrap over images", title_justify="left",
    )  # fmt: skip
    for name, by_task in rows.items():
        cells: list[str] = []
        for task in tasks:
            runs = by_task[task.name]
            cells.append(summary(task, runs, "trained"))
            lost = paired_interval(task, rows[first][task.name]["trained"], runs["trained"])
            cells.append(
                "" if name == first else "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * value for value in lost))
            )
        table.add_row(name, RECIPES[name].words, *cells)
    console.print(table)


def _clips(data: Path, folder: Path) -> Path:
    """Links to all clips in one folder, since a data set has one source."""
    folder.mkdir(parents=True, exist_ok=True)
    found = [*data.glob("videos/*/*"), *data.glob("davis/videos/*")]
    if not found:
        raise SystemExit(f"learn: no clips below {str(data)!r}; give --data or set TRITRACK_DATA")
    for clip in found:
        link = folder / clip.name
        if not link.is_symlink():
            link.symlink_to(clip.resolve())
    return folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", default=real_data(), help="folder with videos, davis, cifar10 and voc2007")
    parser.add_argument("--root", default=PROJECT / ".tritrack" / "learn", help="where units are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="optimiser steps of each training instead of the recipe's")
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=["learn"], help="the first is compared with")
    parser.add_argument("--width", type=int, default=140, help="columns of the tables")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
