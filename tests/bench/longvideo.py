"""Memory and speed of the track stage on a long video: one worker process, its resident memory over time.

    python -m tests.bench.longvideo [--minutes 120] [--estimator klt]

Four seconds of the generated world, with occluders, cuts and changes of light, are encoded once; their packets are
repeated with later times, so that a video of hours costs seconds. The limit of a worker is 600 MB.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
from rich.console import Console
from rich.table import Table

from storage.manifests import video_path
from storage.root import open_root
from tasks.track.config import TrackConfig
from tasks.track.key import key_document
from tasks.track.video import track_video
from tasks.world.config import hard_world
from tasks.world.write import encode_video

LIMIT_BYTES = 600_000_000
_PART_FRAMES = 100
_FPS = 25
_SEED = 7
_TELL_EVERY_FRAMES = 2000
_PROGRESS_FRAMES = 32  # between two calls of the stage's progress
_VIDEO = "1" * 64  # in place of its digest
_ROWS = 24  # of the table


@dataclass(frozen=True)
class Sample:
    """A worker's state while it mines: resident bytes, now and at most so far."""

    frames: int
    tracks: int
    seconds: float
    resident_bytes: int
    peak_bytes: int


def write_long_video(path: Path, minutes: float) -> None:
    """A video of so many minutes (MP4, 320 x 240, 25 frames a second): four seconds over and over."""
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "part.mp4"
        encode_video(part, hard_world(_PART_FRAMES), _SEED, 0)
        with av.open(str(part)) as source, av.open(str(path), "w") as target:
            template = source.streams.video[0]
            stream = target.add_stream_from_template(template)
            packets = [(packet.pts, packet.dts, packet) for packet in source.demux(template) if packet.dts is not None]
            assert template.time_base is not None, "an MP4 file has a clock"
            length = round(_PART_FRAMES / _FPS / template.time_base)
            for number in range(max(1, round(minutes * 60 * _FPS / _PART_FRAMES))):
                for pts, dts, packet in packets:
                    assert pts is not None, "a packet of a video has its time"
                    packet.stream = stream
                    packet.pts, packet.dts, packet.time_base = (
                        pts + number * length,
                        dts + number * length,
                        template.time_base,
                    )
                    target.mux(packet)


def watch(root: Path, config: TrackConfig) -> Iterator[Sample]:
    """Track the video of a root in a process of its own; what it tells of itself, at last after the commit."""
    command = [sys.executable, "-m", "tests.bench.longvideo", "--worker", str(root), "--estimator", config.estimator]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None, "its output is read"
        for line in process.stdout:
            yield Sample(**json.loads(line))
    if process.returncode:
        raise RuntimeError(f"the worker ended with {process.returncode}")


def store_long_video(root: Path, minutes: float) -> None:
    """A root with one long video, for `watch`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.mp4"
        write_long_video(path, minutes)
        open_root(str(root)).upload(path, video_path(_VIDEO))


def main() -> int:
    """Measure, print one table; 1 where the worker took more than its limit."""
    arguments = _arguments()
    if arguments.worker:
        _work(arguments.worker, TrackConfig(estimator=arguments.estimator))
        return 0
    console = Console(width=100)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        started = time.perf_counter()
        store_long_video(root, arguments.minutes)
        console.print(f"{arguments.minutes:g} minutes written in {time.perf_counter() - started:.1f} s")
        samples = list(watch(root, TrackConfig(estimator=arguments.estimator)))
    table = Table(title=f"one worker, {arguments.estimator}, {arguments.minutes:g} minutes of 320 x 240")
    for heading in ("frames", "tracks", "seconds", "frames/s", "resident MB", "peak MB"):
        table.add_column(heading, justify="right")
    for sample in [*samples[: -1 : max(1, len(samples) // _ROWS)], samples[-1]]:
        rate = sample.frames / max(sample.seconds, 1e-9)
        megabytes = (f"{size / 1e6:.0f}" for size in (sample.resident_bytes, sample.peak_bytes))
        table.add_row(str(sample.frames), str(sample.tracks), f"{sample.seconds:.1f}", f"{rate:.0f}", *megabytes)
    console.print(table)
    console.print(f"limit: {LIMIT_BYTES / 1e6:.0f} MB")
    return int(samples[-1].peak_bytes > LIMIT_BYTES)


def _work(root: str, config: TrackConfig) -> None:
    started = time.perf_counter()

    def tell(frames: int, tracks: int) -> None:
        sample = Sample(frames, tracks, round(time.perf_counter() - started, 3), *_memory())
        sys.stdout.write(json.dumps(asdict(sample)) + "\n")
        sys.stdout.flush()

    def progress(done: int, total: int, note: str = "") -> None:
        if done % _TELL_EVERY_FRAMES < _PROGRESS_FRAMES or done == total:
            tell(done, int(note.split()[0]))

    manifest = track_video(open_root(root), _VIDEO, config, key_document(config, _VIDEO), progress, "cpu")
    tell(manifest.counts["frames"], manifest.counts["tracks"])


def _memory() -> tuple[int, int]:
    """Resident bytes of this process, now and at most. Linux counts a parent's peak into getrusage's, so not there."""
    status = Path("/proc/self/status")
    if not status.exists():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak, peak
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    now, peak = (1024 * int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM"))
    return now, peak


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--estimator", default="klt")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
