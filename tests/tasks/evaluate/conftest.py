"""A small finished root: videos of moving shapes, and the units of every stage before evaluate."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch

from storage.keys import KeyDocument, Recipe
from storage.manifests import commit, video_path
from storage.root import Root, open_root
from storage.shards import ShardWriter
from storage.tables import table_bytes
from tasks.networks.weights import NetworkSpec, untrained_network
from tasks.records import METRIC_SCHEMA, PAIR_SCHEMA, TRACK_SCHEMA, TRIPLET_SCHEMA

WIDTH, HEIGHT, FRAMES, SIDE = 128, 96, 12, 32
CLASSES = ("bar", "disc", "ring")


@dataclass(frozen=True)
class Finished:
    """A root and the keys in it; `labels` is the labels file, `splits` maps videos to their side."""

    root: Root
    train: str
    triplets: str
    tracks: list[str]
    labels: Path
    splits: dict[str, str]


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """The test networks are tiny: more threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_finished() -> Callable[..., Finished]:
    """Makes a finished root: `make_finished(url, folder, num_train=6, num_held_out=3)`."""
    return _make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    return _make(str(folder / "root"), folder)


def _make(url: str, folder: Path, num_train: int = 6, num_held_out: int = 3) -> Finished:
    root = open_root(url)
    sides = ["train"] * num_train + ["held_out"] * num_held_out
    rows, labels, tracks, splits = [], [], [], {}
    for number, side in enumerate(sides):
        frames, boxes = _scene(number)
        data = _encode(frames)
        video = hashlib.sha256(data).hexdigest()
        root.write_bytes(video_path(video), data)
        splits[video] = side
        # The first two videos pass for near-duplicates of each other.
        group = f"group-{max(1, number)}"
        found = [_track(video, each, frames, path) for each, path in enumerate(boxes)]
        tracks.append(_commit_tracks(root, video, found))
        rows += [{"track": track, "split": side, "group": group, "video": video} for track in found]
        labels += _labels(video, boxes)
    shards = {}
    for side in sorted(set(sides)):
        shards[side] = _commit_shard(root, folder, side, [row["track"] for row in rows if row["split"] == side])
    triplets = _commit_triplets(root, shards, rows)
    path = folder / "labels.parquet"
    pq.write_table(pa.Table.from_pylist(labels), path)
    return Finished(root, _commit_train(root), triplets, tracks, path, splits)


def _scene(number: int) -> tuple[np.ndarray, list[list[tuple[float, float, float, float]]]]:
    """Frames (T, H, W, 3) uint8 of one shape of each class that moves over noise, and each shape's boxes."""
    rng = np.random.default_rng(number)
    still = cv2.resize(rng.integers(60, 120, (12, 16, 3), dtype=np.uint8), (WIDTH, HEIGHT))
    starts = rng.permutation(3)
    colours = rng.integers(150, 255, (3, 3)).tolist()
    frames, boxes = [], [[] for _ in CLASSES]
    for step in range(FRAMES):
        frame = still.copy()
        for shape, name in enumerate(CLASSES):
            x, y = 22.0 + 40 * float(starts[shape]), 24.0 + 3.5 * step
            middle, colour = (round(x), round(y)), colours[shape]
            if name == "bar":
                cv2.rectangle(frame, (middle[0] - 14, middle[1] - 4), (middle[0] + 14, middle[1] + 4), colour, -1)
            elif name == "disc":
                cv2.circle(frame, middle, 14, colour, -1)
            else:
                cv2.circle(frame, middle, 12, colour, 4)
            boxes[shape].append((x - 16, y - 16, 32.0, 32.0))
        frames.append(frame)
    return np.stack(frames), boxes


def _encode(frames: np.ndarray) -> bytes:
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.codec_context.qmin = stream.codec_context.qmax = 2
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return sink.getvalue()


def _jpeg(frame: np.ndarray, box: tuple[float, float, float, float]) -> bytes:
    x, y = max(0, round(box[0])), max(0, round(box[1]))
    patch = cv2.resize(frame[y : y + 32, x : x + 32], (round(SIDE * 1.25),) * 2)
    return cv2.imencode(".jpg", patch[:, :, ::-1])[1].tobytes()


def _track(video: str, shape: int, frames: np.ndarray, path: list[Any]) -> dict[str, Any]:
    return {
        "track": f"{video[:16]}-0-{shape}",
        "video": video,
        "estimator": "klt",
        "start_frame": 0,
        "end_frame": FRAMES - 1,
        "start_seconds": 0.0,
        "end_seconds": (FRAMES - 1) / 25,
        "frame_width": WIDTH,
        "frame_height": HEIGHT,
        "boxes": path,
        "forward_backward_px": 0.1,
        "ncc": 0.9,
        "moving_share": 0.2,
        "anchor_jpeg": _jpeg(frames[0], path[0]),
        "positive_jpeg": _jpeg(frames[-1], path[-1]),
        "context": 1.25,
    }


def _commit_tracks(root: Root, video: str, tracks: list[dict[str, Any]]) -> str:
    document = KeyDocument(Recipe("track", 1), inputs={"video": video})
    counts = {"frames": FRAMES, "starts": 1, "tracks": len(tracks), "rejected_lost": 2, "rejected_forward_backward": 5}
    return commit(root, document, {"tracks.parquet": table_bytes(tracks, TRACK_SCHEMA)}, counts=counts).key


def _commit_shard(root: Root, folder: Path, split: str, tracks: list[dict[str, Any]]) -> str:
    path, rows = folder / f"{split}.tar", []
    with ShardWriter(path) as writer:
        for track in tracks:
            members = {"anchor.jpg": track["anchor_jpeg"], "positive.jpg": track["positive_jpeg"]}
            places = writer.add(track["track"], members)
            row = {name: track[name] for name in ("video", "estimator", "start_frame", "end_frame", "ncc")}
            row |= {"sample": track["track"], "split": split, "forward_backward_px": 0.1}
            row |= {"anchor_box": track["boxes"][0], "positive_box": track["boxes"][-1]}
            for member in ("anchor", "positive"):
                row[f"{member}_offset"], row[f"{member}_size"] = places[f"{member}.jpg"]
            rows.append(row)
    document = KeyDocument(Recipe("shard", 1, parameters={"margin": 1.25, "patch_px": SIDE}), inputs={"split": split})
    return commit(root, document, {"pairs.tar": path, "index.parquet": table_bytes(rows, PAIR_SCHEMA)}).key


def _commit_triplets(root: Root, shards: dict[str, str], rows: list[dict[str, Any]]) -> str:
    pairs = []
    for split in ("held_out", "train"):
        mine = [row for row in rows if row["split"] == split]
        for place, row in enumerate(mine):
            other = next((each for each in range(len(mine)) if mine[each]["group"] != row["group"]), -1)
            pairs.append(
                {
                    "split": split,
                    "shard": shards[split],
                    "row": place,
                    "sample": row["track"]["track"],
                    "video": row["video"],
                    "group": row["group"],
                    "negative_shard": shards[split] if other >= 0 else "",
                    "negative_row": other,
                    "negative_sample": mine[other]["track"]["track"] if other >= 0 else "",
                    "negative_video": mine[other]["video"] if other >= 0 else "",
                }
            )
    document = KeyDocument(Recipe("shard", 1, variant={"unit": "triplets"}), inputs={"shards": sorted(shards.values())})
    return commit(root, document, {"triplets.parquet": table_bytes(pairs, TRIPLET_SCHEMA)}).key


def _commit_train(root: Root) -> str:
    spec = NetworkSpec("small", 16, SIDE, 1)
    other = untrained_network(NetworkSpec("small", 16, SIDE, 2))  # stands for a trained one
    steps = [
        {
            "step": step,
            "epoch": step / 10,
            "loss": 0.5 / step,
            "active_share": 1 / step,
            "positive_cosine": 0.9,
            "negative_cosine": 0.4,
            "mean_cosine": 0.3,
            "learning_rate": 0.05,
        }
        for step in range(1, 41)
    ]
    files = {
        "weights.safetensors": safetensors.torch.save(other.state_dict()),
        "network.json": json.dumps(vars(spec)).encode(),
        "metrics.parquet": table_bytes(steps, METRIC_SCHEMA),
    }
    return commit(root, KeyDocument(Recipe("train", 1, parameters={"steps": 40})), files, counts={"steps": 40}).key


def _labels(video: str, boxes: list[list[tuple[float, float, float, float]]]) -> list[dict[str, Any]]:
    return [
        {
            "video": video,
            "file": f"{video[:8]}.mp4",
            "frame": frame,
            "object": shape + 1,
            "class": CLASSES[shape],
            "x": box[0],
            "y": box[1],
            "width": box[2],
            "height": box[3],
            "visibility": 1.0,
        }
        for shape, path in enumerate(boxes)
        for frame, box in enumerate(path)
    ]
