"""A small data set for training: textured patches that shift between anchor and positive, in one shard a video."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import Root, open_root
from storage.shards import ShardWriter
from storage.tables import table_bytes
from tasks.configuration import key_parameters
from tasks.records import PAIR_SCHEMA, TRIPLET_SCHEMA
from tasks.train.config import TrainConfig
from tasks.train.job import Job
from tasks.train.loop import train

_STORED_PX, _MARGIN = 40, 1.25

MakeTriplets = Callable[..., str]
TrainHere = Callable[..., Manifest]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def alone() -> Iterator[None]:
    """A process group of this process alone, as a run on one rank has it, and one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
    torch.set_num_threads(threads)


@pytest.fixture
def train_here(alone: None, root: Root, tmp_path: Path) -> Iterator[TrainHere]:
    """`train_here(triplets, config, name)` trains in this process; `name` tells equal runs apart, by their keys."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(triplets: str, config: TrainConfig, name: str = "") -> Manifest:
        document = here_document(triplets, config, name)
        job = Job(root.url, triplets, config, document, "cpu", 1, name or "one", str(tmp_path / "cache"), {})
        manifest = train(job, torch.device("cpu"))
        assert manifest is not None, "rank 0 commits"
        return manifest

    yield run
    signal.signal(signal.SIGTERM, handler)


def here_document(triplets: str, config: TrainConfig, name: str = "") -> KeyDocument:
    """The key document of `train_here`."""
    return KeyDocument(Recipe("train", 1, 7, key_parameters(config), code={"loop": name}), {"triplets": triplets})


@pytest.fixture
def small_config() -> TrainConfig:
    """Two dozen quick steps at 32 px."""
    return TrainConfig(
        input_px=32,
        embedding=16,
        steps=24,
        pairs_per_batch=8,
        hard_after_step=8,
        checkpoint_every_steps=4,
        learning_rate=0.002,
        augment="colour",
    )


@pytest.fixture
def make_triplets(root: Root, tmp_path: Path) -> MakeTriplets:
    """`make_triplets(groups, pairs=5)` commits one shard a video and the triplet index; returns the index's key.

    `groups` names each video's near-duplicate group; videos of a group named "held_out" are not for training. All pairs
    of a video begin at one frame, each `apart_px` to the right of the one before.
    """

    def make(groups: tuple[str, ...], pairs: int = 5, apart_px: float = 0.0) -> str:
        triplets = []
        for number, group in enumerate(groups):
            split = "held_out" if group == "held_out" else "train"
            document = KeyDocument(
                Recipe("shard", 1, parameters={"margin": _MARGIN}), inputs={"video": number, "pairs": pairs}
            )
            path, rows = tmp_path / f"shard-{number}.tar", []
            with ShardWriter(path) as writer:
                for pair in range(pairs):
                    anchor, positive = _patches(number, pair)
                    places = writer.add(f"v{number}-{pair}", {"anchor.jpg": anchor, "positive.jpg": positive})
                    rows.append(_pair_row(f"v{number}-{pair}", f"video{number}", split, places, apart_px * pair))
            commit(root, document, {"pairs.tar": path, "index.parquet": table_bytes(rows, PAIR_SCHEMA)})
            triplets += [
                {
                    "split": split,
                    "shard": document.key,
                    "row": row,
                    "sample": f"v{number}-{row}",
                    "video": f"video{number}",
                    "group": group,
                }
                for row in range(pairs)
            ]
        index = KeyDocument(Recipe("shard", 1), inputs={"triplets": list(groups), "pairs": pairs})
        commit(root, index, {"triplets.parquet": table_bytes(triplets, TRIPLET_SCHEMA)})
        return index.key

    return make


def _patches(video: int, pair: int) -> tuple[bytes, bytes]:
    """JPEG bytes of a coloured texture and of itself moved by a few pixels."""
    random = np.random.default_rng([video, pair])
    coarse = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    texture = cv2.resize(coarse, (_STORED_PX + 8, _STORED_PX + 8), interpolation=cv2.INTER_CUBIC)
    places = (slice(0, _STORED_PX), slice(8, 8 + _STORED_PX))
    first, second = (cv2.imencode(".jpg", texture[place, place])[1].tobytes() for place in places)
    return first, second


def _pair_row(
    sample: str, video: str, split: str, places: dict[str, tuple[int, int]], left_px: float
) -> dict[str, object]:
    (anchor_offset, anchor_size), (positive_offset, positive_size) = places["anchor.jpg"], places["positive.jpg"]
    return {
        "sample": sample,
        "video": video,
        "split": split,
        "estimator": "klt",
        "start_frame": 0,
        "end_frame": 30,
        "anchor_box": [left_px, 0.0, 32.0, 32.0],
        "positive_box": [left_px + 8.0, 8.0, 32.0, 32.0],
        "anchor_offset": anchor_offset,
        "anchor_size": anchor_size,
        "positive_offset": positive_offset,
        "positive_size": positive_size,
    }
