"""Shard writing beside its limit, merging beside a copy, memory, and what compaction writes again.

    python -m tests.bench.shards [--pairs 1200] [--rounds 7] [--heights 480 240] [--data ../shared/data]

The limit of packing is JPEG decoding and encoding of the same crops plus one sequential write of the same bytes; that
of merging is one copy of the same bytes, flushed to the disk. Both sides run in turn, on one thread; medians, of the
clock and of the process's own time, which a busy machine disturbs less.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from storage.keys import KeyDocument, Recipe
from storage.manifests import Manifest, commit
from storage.root import Root, open_root
from storage.shards import ShardReader
from storage.tables import read_table, table_bytes
from storage.versions import ShardEntry
from tasks.records import TRACK_SCHEMA
from tasks.shard.compaction import small_shards
from tasks.shard.config import ShardConfig
from tasks.shard.key import shard_document
from tasks.shard.pack import pack_shard
from tasks.track.config import TrackConfig
from tasks.track.crops import CONTEXT, context_crop, jpeg
from tasks.world.config import WorldConfig
from tasks.world.render import render_video
from tests.real_data import real_data

CONFIG = ShardConfig()
_VIDEOS = 24
_PARTS = 8


def main() -> int:
    arguments = _arguments()
    cv2.setNumThreads(1)
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-shards-") as folder:
        table = Table(title=f"{arguments.pairs} pairs, medians of {arguments.rounds} rounds in turn, one thread")
        for heading in ("what", "ours s", "limit s", "ratio", "ours CPU s", "limit CPU s", "CPU ratio", "MB/CPU s"):
            table.add_column(heading, justify="right")
        for height in arguments.heights:
            for name, frames in _worlds(height, arguments.data):
                root = open_root(f"{folder}/{name}-{height}")
                crops = _crops(frames)
                tracks = _track_units(root, crops, arguments.pairs)
                table.add_row(*_packing(root, Path(folder), tracks, crops, arguments, f"pack, {name}, {height} px"))
        table.add_row(*_merging(root, Path(folder), tracks, arguments))
        console.print(table)
        console.print(_memory(root, tracks))
    for nights in (100, 1000):
        console.print(_rewritten(nights))
    return 0


def _packing(
    root: Root, folder: Path, tracks: Sequence[str], crops: Sequence[bytes], arguments: argparse.Namespace, what: str
) -> list[str]:
    packed = _pack(root, tracks)
    patches, data = _patches(root, packed, folder), root.read_bytes(packed.files["pairs.tar"].path)
    jpegs = [
        np.frombuffer(crop, np.uint8).copy() for crop in _all_crops(crops, arguments.pairs)
    ]  # as far apart as ours

    def limit() -> None:
        for crop, patch in zip(jpegs, patches, strict=True):
            cv2.imdecode(crop, cv2.IMREAD_COLOR)
            cv2.imencode(".jpg", patch, [cv2.IMWRITE_JPEG_QUALITY, CONFIG.jpeg_quality])
        _write(folder / "limit", data)

    return _row(what, lambda: _pack(root, tracks), limit, arguments, len(data))


def _merging(root: Root, folder: Path, tracks: Sequence[str], arguments: argparse.Namespace) -> list[str]:
    """Eight shards of all pairs each; that they hold the same ones makes no difference here."""
    parts, held = [_pack(root, tracks).key] * _PARTS, [*tracks] * _PARTS
    document = shard_document(CONFIG, "train", held)

    def merge() -> Manifest:
        return pack_shard(root, held, "train", CONFIG, document, parts=parts)

    path = root.local_path(merge().files["pairs.tar"].path)
    assert path is not None

    def limit() -> None:
        _write(folder / "limit", path.read_bytes())

    size = path.stat().st_size
    return _row(f"merge {_PARTS} x {size / _PARTS / 1e6:.0f} MB", merge, limit, arguments, size)


def _row(
    what: str, ours: Callable[[], object], limit: Callable[[], object], arguments: argparse.Namespace, size: int
) -> list[str]:
    clocks = (time.perf_counter, time.process_time)
    rounds: list[list[list[float]]] = [[], []]
    for number in range(arguments.rounds):
        for place in (0, 1) if number % 2 else (1, 0):
            starts = [clock() for clock in clocks]
            (ours, limit)[place]()
            rounds[place].append([clock() - start for clock, start in zip(clocks, starts, strict=True)])
    (own, own_cpu), (least, least_cpu) = (
        [statistics.median(one) for one in zip(*side, strict=True)] for side in rounds
    )
    figures = [own, least, least / own, own_cpu, least_cpu, least_cpu / own_cpu]
    return [what, *(f"{figure:.2f}" for figure in figures), f"{size / own_cpu / 1e6:.1f}"]


def _memory(root: Root, tracks: Sequence[str]) -> str:
    """The peak of a process that packs a third of the videos, and of one that packs all of them."""
    peaks = []
    for number in (len(tracks) // 3, len(tracks)):
        command = [sys.executable, "-m", "tests.bench.shards", "--peak", root.url, *tracks[:number]]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    return f"peak memory: {peaks[0] / 1e6:.0f} MB for a third of the videos, {peaks[1] / 1e6:.0f} MB for all"


def _rewritten(nights: int) -> str:
    """What the rule writes again where every night brings one shard of 1 MB."""
    night, written, shards = 10**6, 0, list[ShardEntry]()
    most = 0
    for number in range(nights):
        for group in small_shards(shards, CONFIG.compact_bytes):
            size = sum(shard.size for shard in group)
            written += size
            shards = [shard for shard in shards if shard not in group]
            shards.append(ShardEntry(f"m{number}-{group[0].key}", "train", (), 0, size=size))
        shards.append(ShardEntry(f"n{number:04}", "train", (), 0, size=night))
        most = max(most, len(shards))
    return (
        f"{nights} nights of one 1 MB shard: {written / 1e6:.0f} MB written again for {nights * night / 1e6:.0f} MB "
        f"({written / nights / night:.2f} a byte), {len(shards)} shards at the end, never more than {most}"
    )


def _pack(root: Root, tracks: Sequence[str]) -> Manifest:
    return pack_shard(root, tracks, "train", CONFIG, shard_document(CONFIG, "train", tracks))


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as writer:
        writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())


def _worlds(height: int, data: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Frames (H, W, 3) uint8 RGB of the generated world and, where the data is there, of three clips of DAVIS."""
    world = WorldConfig(width=height * 4 // 3, height=height, num_frames=24)
    drawn = (islice(render_video(world, 1, index, truth=False), 0, None, 8) for index in range(3))
    yield "generated", [frame.image for frames in drawn for frame in frames]
    clips = [data / "davis" / "videos" / f"{name}.mp4" for name in ("camel", "parkour", "soapbox")]
    if all(clip.is_file() for clip in clips):
        yield "DAVIS", [_at_height(frame, height) for clip in clips for frame in _read(clip)]


def _read(clip: Path) -> Iterator[np.ndarray]:
    with av.open(str(clip)) as video:
        for frame in islice(video.decode(video=0), 0, 24, 8):
            yield frame.to_ndarray(format="rgb24")


def _at_height(frame: np.ndarray, height: int) -> np.ndarray:
    width = round(frame.shape[1] * height / frame.shape[0])
    scaled: np.ndarray = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return scaled


def _crops(frames: Sequence[np.ndarray]) -> list[bytes]:
    """Context crops in the three sizes that the tracker takes."""
    chance, track, crops = np.random.default_rng(0), TrackConfig(), list[bytes]()
    for frame in frames:
        height, width = frame.shape[:2]
        for scale in track.window_scales:
            side = track.patch_px * scale * max(1.0, height / track.working_height_px)
            for _ in range(8):
                x, y = chance.uniform(0, width - side), chance.uniform(0, height - side)
                crops.append(jpeg(context_crop(frame, (x, y, side, side))))
    return [crops[place] for place in chance.permutation(len(crops))]


def _all_crops(crops: Sequence[bytes], pairs: int) -> list[bytes]:
    """Anchor and positive of every pair."""
    return [crops[place % len(crops)] for pair in range(pairs) for place in (pair, 7 * pair + 1)]


def _track_units(root: Root, crops: Sequence[bytes], pairs: int) -> list[str]:
    keys, pictures = [], _all_crops(crops, pairs)
    for number in range(_VIDEOS):
        video = hashlib.sha256(f"{number}".encode()).hexdigest()
        rows = [_track(video, pair, pictures) for pair in range(number, pairs, _VIDEOS)]
        document = KeyDocument(Recipe("track", 1), inputs={"video": video})
        commit(root, document, {"tracks.parquet": table_bytes(rows, TRACK_SCHEMA)}, counts={"tracks": len(rows)})
        keys.append(document.key)
    return keys


def _track(video: str, pair: int, pictures: Sequence[bytes]) -> dict[str, object]:
    """A track as wide as real ones: 31 boxes, and what is measured at each."""
    return {
        "track": f"{video[:16]}-{pair:06d}-00",
        "video": video,
        "estimator": "klt",
        "start_frame": pair,
        "end_frame": pair + 30,
        "boxes": [[float(n), 2.0, 64.0, 64.0] for n in range(31)],
        "seconds": [n / 30 for n in range(31)],
        "errors_px": [n / 100 for n in range(30)],
        "agreement": [0.9] * 30,
        "jolts_px": [n / 50 for n in range(30)],
        "forward_backward_px": 0.29,
        "ncc": 0.8,
        "anchor_jpeg": pictures[2 * pair],
        "positive_jpeg": pictures[2 * pair + 1],
        "context": CONTEXT,
    }


def _patches(root: Root, packed: Manifest, folder: Path) -> list[np.ndarray]:
    """The decoded patches of a shard, each crop's own: (S, S, 3) uint8."""
    index = read_table(root, packed.files["index.parquet"]).to_pylist()
    reader = ShardReader(root, packed.files["pairs.tar"], folder)
    patches = []
    for row in index:
        for member in ("anchor", "positive"):
            data = reader.read(row[f"{member}_offset"], row[f"{member}_size"])
            patches.append(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
    reader.close()
    return patches


def _peak(url: str, tracks: Sequence[str]) -> int:
    cv2.setNumThreads(1)
    _pack(open_root(url), tracks)
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}\n")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pairs", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--heights", type=int, nargs="+", default=[480, 240], help="of the videos, in px")
    parser.add_argument(
        "--data", type=Path, default=real_data(), help="folder of real clips; they are left out without it"
    )
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        sys.exit(_peak(sys.argv[2], sys.argv[3:]))
    sys.exit(main())
