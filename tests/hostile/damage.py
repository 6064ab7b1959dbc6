"""Clips that were cut short or damaged: every 5 % of each container, and seeded faults in each codec."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.hostile.clips import clip, packets
from tests.hostile.containers import UNKNOWN_SIZE, matroska
from tests.hostile.records import Specimen

# `clip("mp4", "libsvtav1")`, made once and not by root: as root this encoder, the only one of AV1 in PyAV, gives the
# thread that calls it a real-time priority above all else on the machine, and the processes it starts inherit that.
_AV1 = Path(__file__).with_name("av1.mp4")
_PERCENT = range(5, 100, 5)
_SEED = 20_240_913
_CUT = frozenset({"poison"})
# A damaged clip may decode all the same.
_DAMAGED = frozenset({"kept", "poison", "permanent too_many_pixels"})


@functools.cache
def _clips() -> Mapping[str, bytes]:
    """One clip of each container, by the end of its file's name."""
    return {
        "faststart.mp4": clip("mp4", "mpeg4", container_options={"movflags": "faststart"}),
        "mp4": clip("mp4", "libx264", sound="aac"),
        "fragmented.mp4": clip("mp4", "libx264", container_options={"movflags": "frag_every_frame+empty_moov"}),
        "mov": clip("mov", "libx265"),
        "mkv": clip("matroska", "mpeg4"),
        "live.mkv": matroska(packets("mjpeg", "yuvj420p"), segment_size=UNKNOWN_SIZE, cluster_size=UNKNOWN_SIZE),
        "webm": clip("webm", "libvpx-vp9"),
        "avi": clip("avi", "mpeg4"),
        "ts": clip("mpegts", "libx264"),
        "flv": clip("flv", "flv"),
    }


# Cut between two frames they are whole videos, but shorter; and the last tenth of `mp4` describes its sound.
_MAY_BE_KEPT = frozenset({"mp4", "ts", "live.mkv", "fragmented.mp4", "avi", "flv", "faststart.mp4"})


def cut_clips() -> Iterator[Specimen]:
    for name, data in _clips().items():
        allowed = _CUT | {"kept"} if name in _MAY_BE_KEPT else _CUT
        for percent in _PERCENT:
            cut = data[: len(data) * percent // 100]
            yield Specimen(f"truncated/{name} {percent} %", allowed, cut, file_name=f"cut-{percent}.{name}")


@functools.cache
def _coded() -> Mapping[str, bytes]:
    """One clip of each codec that a decoder of its own reads."""
    return {
        "mpeg4.mp4": clip("mp4", "mpeg4"),
        "h264.mp4": clip("mp4", "libx264"),
        "h265.mp4": clip("mp4", "libx265"),
        "av1.mp4": _AV1.read_bytes(),
        "vp8.webm": clip("webm", "libvpx"),
        "vp9.webm": clip("webm", "libvpx-vp9"),
        "mpeg2.ts": clip("mpegts", "mpeg2video"),
        "mjpeg.avi": clip("avi", "mjpeg", "yuvj420p"),
        "ffv1.mkv": clip("matroska", "ffv1"),
        "prores.mov": clip("mov", "prores_ks", "yuv422p10le"),
        "png.mov": clip("mov", "png", "rgba"),
        "picture.gif": clip("gif", "gif", "rgb8"),
        "theora-like.ogv": clip("ogg", "libvpx"),
        "sorenson.flv": clip("flv", "flv"),
        "windows.wmv": clip("asf", "wmv2"),
    }


def damaged_clips() -> Iterator[Specimen]:
    for number, (name, data) in enumerate(_coded().items()):
        for faults in (_flipped_head, _flipped_middle, _zeroed_middle, _lost_middle):
            source = np.random.default_rng((_SEED, number))
            what = faults.__name__.strip("_").replace("_", " ")
            yield Specimen(f"damaged/{name} {what}", _DAMAGED, faults(data, source), file_name=f"damaged-{name}")


def _flipped_head(data: bytes, source: np.random.Generator) -> bytes:
    """Eight bits in the first 600 bytes, where headers stand."""
    return _flipped(data, source, 8, 0, min(600, len(data)))


def _flipped_middle(data: bytes, source: np.random.Generator) -> bytes:
    """Forty bits between a quarter and three quarters."""
    return _flipped(data, source, 40, len(data) // 4, 3 * len(data) // 4)


def _zeroed_middle(data: bytes, source: np.random.Generator) -> bytes:
    """A tenth of the file, as a disk gives back a sector that it lost."""
    start = int(source.integers(len(data) // 3, len(data) // 2))
    length = len(data) // 10
    return data[:start] + bytes(length) + data[start + length :]


def _lost_middle(data: bytes, source: np.random.Generator) -> bytes:
    """A tenth of the file is gone, and what follows moves up."""
    start = int(source.integers(len(data) // 3, len(data) // 2))
    return data[:start] + data[start + len(data) // 10 :]


def _flipped(data: bytes, source: np.random.Generator, num_bits: int, start: int, stop: int) -> bytes:
    changed = bytearray(data)
    for place, bit in zip(source.integers(start, stop, num_bits), source.integers(0, 8, num_bits), strict=True):
        changed[place] ^= 1 << int(bit)
    return bytes(changed)
