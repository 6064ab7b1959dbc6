"""`python -m tests.bench.reader`: pairs a second of the training reader beside the readers that the field uses.

All read the same JPEG bytes, and decode, crop and mirror them with the same function and the same draws; each runs in a
process of its own, in turn with the others. webdataset reads the very tars; mosaicml-streaming and litdata their own
formats. `--peers` names the Python of an environment with these three, torch and OpenCV; what it cannot import is told
in the table. Then: the time to the first batch after a resume of a run over a million pairs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.bench.samples import MARGIN, commit_shards, patches, write_samples, write_tar

PATCH_PX, SMALLEST_CROP = 64, 0.6  # those of the sample preset
BATCH = 64
SHARDS = 4
MANY, MANY_SHARDS, MANY_CURSOR = 1_000_000, 100, 12_345_678
NEGATIVES = ("other_videos", "far_away")
FIRST_BATCH_LIMIT_SECONDS = 2.0
STORED_PX = round(PATCH_PX * MARGIN)
_WARM_BATCHES = 10  # taken before the clock starts: workers are up by then

Batches = Iterator[NDArray[np.uint8]]  # (2 BATCH, PATCH_PX, PATCH_PX, 3) each


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=12_800)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--peers", default=sys.executable, help="Python that has the other readers")
    parser.add_argument("--parts", nargs="+", choices=("speed", "resume"), default=["speed", "resume"])
    parser.add_argument("--child", nargs=2, metavar=("ACTION", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_act(options.child[0], Path(options.child[1]), options.workers[0])))
        return 0
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as folder:
        if "speed" in options.parts:
            _compare(options, Path(folder))
        if "resume" in options.parts:
            _resume(options.repeats, Path(folder))
    return 0


def _compare(options: argparse.Namespace, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    write_samples(folder, options.pairs, SHARDS, STORED_PX)
    pythons = {name: sys.executable if name.startswith("tritrack") else options.peers for name in READERS}
    missing: dict[str, str] = {}
    for name in WRITERS:
        if why := _child(pythons[name], f"write {name}", folder, 1).get("missing"):
            missing[name] = why
    measured: dict[tuple[str, int], list[dict[str, float]]] = {}
    for _ in range(options.repeats):
        for workers in options.workers:
            for name in [name for name in READERS if name not in missing]:
                answer = _child(pythons[name], f"read {name}", folder, workers)
                measured.setdefault((name, workers), []).append(answer)
    table = Table(
        "reader", "workers", "pairs/s", "least", "most", "CPU ms a pair", "x this, pairs/s", "x this, CPU",
        title=f"{options.pairs:,} pairs read and decoded (medians of {options.repeats})", title_justify="left",
    )  # fmt: skip
    for workers in options.workers:
        ours = measured["tritrack", workers]
        for name in READERS:
            if name in missing:
                table.add_row(name, str(workers), missing[name])
                continue
            rows = measured[name, workers]
            median, rates = _medians(rows), [row["rate"] for row in rows]
            figures = (f"{value:,.0f}" for value in (median["rate"], min(rates), max(rates)))
            ratios = (_ratio(ours, rows, "rate"), _ratio(rows, ours, "cpu"))
            table.add_row(name, str(workers), *figures, f"{median['cpu'] * 1e3:.2f}", *ratios)
    Console(width=110).print(table)


def _resume(repeats: int, folder: Path) -> None:
    write_many(folder)
    for negatives in NEGATIVES:
        median = _medians([_child(sys.executable, f"first {negatives}", folder, 1) for _ in range(repeats)])
        print(
            f"First batch after a resume, {MANY:,} pairs in {MANY_SHARDS} shards, negatives {negatives}: "
            f"{median['seconds']:.2f} s, {median['table']:.2f} s of it the pair table; {median['cpu']:.2f} s of CPU "
            f"(medians of {repeats}, imports left out; limit {FIRST_BATCH_LIMIT_SECONDS:.0f} s)"
        )


def _ratio(some: list[dict[str, float]], others: list[dict[str, float]], name: str) -> str:
    """The median over rounds: what else the machine does changes between rounds more than within one."""
    return f"{statistics.median(one[name] / other[name] for one, other in zip(some, others, strict=True)):.2f}"


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]}


def _child(python: str, action: str, folder: Path, workers: int) -> dict[str, Any]:
    command = [python, "-m", "tests.bench.reader", "--workers", str(workers), "--child", action, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{action} failed: {done.stderr[-3000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _act(action: str, folder: Path, workers: int) -> dict[str, Any]:
    """What a child does."""
    verb, _, name = action.partition(" ")
    if verb == "first":
        return measure_first_batch(folder, name)
    if verb == "write":
        try:
            WRITERS[name](folder)
        except ImportError as error:
            return {"missing": f"not there: {' '.join(str(error).split())}"}
        return {}
    cv2.setNumThreads(1)
    batches = READERS[name](folder, workers)
    for _ in range(_WARM_BATCHES):
        next(batches)
    begun, cpu, images = time.perf_counter(), time.process_time(), 0
    for batch in batches:
        assert batch.shape[1:] == (PATCH_PX, PATCH_PX, 3), "every reader gives the same"
        images += len(batch)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    del batches
    gc.collect()  # worker processes are waited for, so that their time is known
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_of_children = (children.ru_utime + children.ru_stime) * images / (images + 2 * BATCH * _WARM_BATCHES)
    return {"rate": images / 2 / seconds, "cpu": (cpu + cpu_of_children) / (images / 2)}


# Readers


def read_tritrack(folder: Path, workers: int) -> Batches:
    from storage.root import open_root
    from tasks.train.data import iterate_batches
    from tasks.train.pairs import load_pairs

    table = load_pairs(open_root(str(folder / "root")), (folder / "key").read_text(), folder)
    batches = iterate_batches(table, _config(workers), 0, cursor=0, steps=len(table) // BATCH, rank=0, ranks=1)
    return (batch.images for batch in batches)


def read_tritrack_in_processes(folder: Path, workers: int) -> Batches:
    """The same batches, made by worker processes of torch's DataLoader instead of threads."""
    from torch.utils.data import DataLoader

    from storage.root import open_root
    from tasks.train.data import read_batch
    from tasks.train.pairs import load_pairs

    table = load_pairs(open_root(str(folder / "root")), (folder / "key").read_text(), folder)
    config = _config(workers)

    class Batched:
        def __len__(self) -> int:
            return len(table) // BATCH

        def __getitem__(self, number: int) -> Any:
            return _tensor(read_batch(table, config, 0, number * BATCH, 0, 1).images)

    loader: Any = DataLoader(Batched(), batch_size=None, num_workers=workers)  # type: ignore[arg-type]
    return (images.numpy() for images in loader)


def read_webdataset(folder: Path, workers: int) -> Batches:
    import webdataset

    tars = [str(path) for path in sorted((folder / "tars").iterdir())]
    dataset = webdataset.WebDataset(tars, shardshuffle=SHARDS).shuffle(1000)
    dataset = dataset.to_tuple("__key__", "anchor.jpg", "positive.jpg").map(_Decode(folder, int))
    dataset = dataset.batched(BATCH, collation_fn=_collate, partial=False)
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=workers)
    return (images.numpy() for images in loader)


def read_streaming(folder: Path, workers: int) -> Batches:
    streaming = _streaming()
    from torch.utils.data import DataLoader

    class Dataset(streaming.StreamingDataset):  # type: ignore[name-defined,misc]
        decode = _Decode(folder)

        def __getitem__(self, place: int) -> Any:
            sample = super().__getitem__(place)
            return self.decode((sample["number"], sample["anchor"], sample["positive"]))

    dataset = Dataset(local=str(folder / "streaming"), shuffle=True, batch_size=BATCH)
    loader: Any = DataLoader(dataset, BATCH, num_workers=workers, collate_fn=_collate, drop_last=True)
    return (images.numpy() for images in loader)


def read_litdata(folder: Path, workers: int) -> Batches:
    import litdata

    class Dataset(litdata.StreamingDataset):  # type: ignore[misc]
        decode = _Decode(folder)

        def __getitem__(self, place: Any) -> Any:
            sample = super().__getitem__(place)
            return self.decode((sample["number"], sample["anchor"], sample["positive"]))

    dataset = Dataset(str(folder / "litdata"), shuffle=True, drop_last=True)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=workers, collate_fn=_collate, drop_last=True
    )
    return (images.numpy() for images in loader)


class _Decode:
    """(number, anchor, positive) as stored -> the two patches, with the draws of that pair, which are made before."""

    def __init__(self, folder: Path, number: Callable[[Any], int] = lambda number: int(number)) -> None:
        from tasks.train.augment import augment_draws

        numbers = np.arange(json.loads((folder / "samples.json").read_text())["pairs"])
        epochs = np.zeros(len(numbers))
        self._draws = np.stack([augment_draws(0, epochs, numbers, view) for view in (0, 1)], axis=1)
        self._number = number

    def __call__(self, sample: tuple[Any, bytes, bytes]) -> list[NDArray[np.uint8]]:
        from tasks.train.augment import decode_patch

        draws = self._draws[self._number(sample[0])]
        return [
            decode_patch(sample[1 + view], draws[view], "colour", SMALLEST_CROP, MARGIN, PATCH_PX) for view in (0, 1)
        ]


def _collate(samples: list[list[NDArray[np.uint8]]]) -> Any:
    """A batch as a tensor, which goes between processes through shared memory."""
    return _tensor(np.stack([sample[view] for view in (0, 1) for sample in samples]))


def _tensor(images: NDArray[np.uint8]) -> Any:
    import torch

    return torch.from_numpy(images)


def _config(workers: int) -> Any:
    from tasks.train.config import TrainConfig

    return TrainConfig(input_px=PATCH_PX, pairs_per_batch=BATCH, loader_workers=workers)


def measure_first_batch(folder: Path, negatives: Any) -> dict[str, float]:
    """Seconds from nothing to the first batch after a resume, and those of the pair table alone."""
    import pandas  # noqa: F401 (pyarrow imports it where it is there)

    from storage.root import open_root
    from tasks.train.data import iterate_batches
    from tasks.train.pairs import load_pairs

    root, key = open_root(str(folder / "many")), (folder / "many-key").read_text()
    begun, cpu = time.perf_counter(), time.process_time()
    table = load_pairs(root, key, folder, negatives=negatives)
    loaded = time.perf_counter()
    batches = iterate_batches(table, _config(1), 0, cursor=MANY_CURSOR, steps=100, rank=0, ranks=1)
    next(batches)
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    batches.close()  # type: ignore[attr-defined]
    assert len(table) == MANY, "all pairs are trained on"
    return {"seconds": ended - begun, "table": loaded - begun, "cpu": cpu}


# Samples


def write_many(folder: Path) -> None:
    """A root of MANY pairs: each has its row, a few patches a shard stand for all."""
    path = folder / "few.tar"
    places = write_tar(path, range(BATCH), STORED_PX)
    rows = np.arange(MANY // MANY_SHARDS)
    (folder / "many-key").write_text(commit_shards(folder / "many", [(path, places[rows % BATCH])] * MANY_SHARDS))


def write_streaming(folder: Path) -> None:
    writer = _streaming().MDSWriter
    columns = {"number": "int", "anchor": "bytes", "positive": "bytes"}
    with writer(out=str(folder / "streaming"), columns=columns) as out:
        for sample in _samples(folder):
            out.write(sample)


def write_litdata(folder: Path) -> None:
    import litdata

    litdata.optimize(
        fn=_same, inputs=list(_samples(folder)), output_dir=str(folder / "litdata"), num_workers=1, chunk_bytes="64MB"
    )


def _same(sample: dict[str, Any]) -> dict[str, Any]:
    return sample


def _samples(folder: Path) -> Iterator[dict[str, Any]]:
    for number in range(json.loads((folder / "samples.json").read_text())["pairs"]):
        anchor, positive = patches(number, STORED_PX)
        yield {"number": number, "anchor": anchor, "positive": positive}


def _streaming() -> Any:
    """mosaicml-streaming, without the torchvision that it imports for data sets of its own."""
    import importlib.util
    import types
    from importlib.machinery import ModuleSpec

    if importlib.util.find_spec("torchvision") is None:
        for name in (
            "torchvision",
            "torchvision.datasets",
            "torchvision.transforms",
            "torchvision.transforms.functional",
        ):
            module: Any = types.ModuleType(name)
            module.__spec__ = ModuleSpec(name, None)
            module.VisionDataset, module.to_tensor = object, None
            sys.modules[name] = module
    import streaming

    return streaming


READERS: dict[str, Callable[[Path, int], Batches]] = {
    "tritrack": read_tritrack,
    "tritrack, in processes": read_tritrack_in_processes,
    "webdataset": read_webdataset,
    "mosaicml-streaming": read_streaming,
    "litdata": read_litdata,
}
WRITERS: dict[str, Callable[[Path], None]] = {"mosaicml-streaming": write_streaming, "litdata": write_litdata}


if __name__ == "__main__":
    sys.exit(main())
