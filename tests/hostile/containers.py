"""MP4 boxes and Matroska elements, byte by byte: to lie in them, and to build what no muxer would write."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

_BEFORE_CHILDREN = {b"stsd": 8, b"meta": 4, b"mp4v": 78, b"avc1": 78, b"raw ": 78, b"dref": 8}  # ISO/IEC 14496-12


def box(kind: bytes, payload: bytes = b"", size: int | None = None) -> bytes:
    """An MP4 box; `size` lies about its length."""
    return (len(payload) + 8 if size is None else size).to_bytes(4, "big") + kind + payload


def full_box(kind: bytes, *numbers: int, tail: bytes = b"") -> bytes:
    """A box with version 0, no flags, and 32-bit numbers."""
    return box(kind, bytes(4) + b"".join(number.to_bytes(4, "big") for number in numbers) + tail)


def find_box(data: bytes, *path: bytes) -> tuple[int, int]:
    """Where a box's payload starts and ends, by the kinds from the top down; raises KeyError where there is none."""
    start, end = 0, len(data)
    for kind in path:
        for found, payload, stop in _boxes(data, start, end):
            if found == kind:
                start, end = payload, stop
                break
        else:
            raise KeyError(path)
        if kind != path[-1]:
            start += _BEFORE_CHILDREN.get(kind, 0)
    return start, end


def patched(data: bytes, path: tuple[bytes, ...], offset: int, value: bytes) -> bytes:
    """The file with some bytes of a box's payload replaced, from `offset` on."""
    start, _ = find_box(data, *path)
    return data[: start + offset] + value + data[start + offset + len(value) :]


def replaced(data: bytes, path: tuple[bytes, ...], new: bytes) -> bytes:
    """The file with a box replaced by other bytes, and the sizes of those around it put right."""
    start, end = find_box(data, *path)
    whole = data[: start - 8] + new + data[end:]
    for depth in range(len(path) - 1, 0, -1):
        outer, outer_end = find_box(data, *path[:depth])
        size = outer_end - outer + 8 + len(new) - (end - start + 8)
        whole = whole[: outer - 8] + size.to_bytes(4, "big") + whole[outer - 4 :]
    return whole


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        if size < 8:
            return
        yield data[start + 4 : start + 8], start + 8, start + size
        start += size


# Matroska: RFC 9559; EBML: RFC 8794.
UNKNOWN_SIZE = (1 << 56) - 1


def element(number: int, payload: bytes | int | float | str, size: int | None = None) -> bytes:
    """An EBML element, its size on 8 bytes; `size` lies about its length."""
    if isinstance(payload, int):
        payload = payload.to_bytes(8, "big")
    elif isinstance(payload, float):
        payload = struct.pack(">d", payload)
    elif isinstance(payload, str):
        payload = payload.encode()
    identity = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return identity + ((1 << 56) | (len(payload) if size is None else size)).to_bytes(8, "big") + payload


def matroska(
    frames: list[bytes],
    codec: str = "V_MJPEG",
    size: tuple[int, int] = (64, 48),
    track: bytes = b"",
    entries: bytes = b"",
    info: bytes = b"",
    times: Mapping[int, int] | None = None,
    segment_size: int | None = None,
    cluster_size: int | None = None,
    doc_type: str = "matroska",
    kind: int = 1,
    extra: bytes = b"",
) -> bytes:
    """A Matroska file of one cluster, a block a frame, `times` in ms (40 a frame where they say nothing).

    `kind`: 1 video, 17 subtitles. `track`, `entries`, `info`, `extra`: elements to add to the track, to all tracks, in
    the place of the segment's information, and to the segment. The sizes lie about segment and cluster.
    """
    header = element(0x1A45DFA3, element(0x4282, doc_type) + element(0x4287, 4) + element(0x4285, 2))
    video = element(0xE0, element(0xB0, size[0]) + element(0xBA, size[1]))
    entry = element(
        0xAE, element(0xD7, 1) + element(0x73C5, 1) + element(0x83, kind) + element(0x86, codec) + video + track
    )
    blocks = b"".join(
        element(0xA3, b"\x81" + ((times or {}).get(number, 40 * number) & 0xFFFF).to_bytes(2, "big") + b"\x80" + frame)
        for number, frame in enumerate(frames)
    )
    segment = (
        element(0x1549A966, info or element(0x2AD7B1, 1_000_000))
        + element(0x1654AE6B, entry + entries)
        + extra
        + element(0x1F43B675, element(0xE7, 0) + blocks, cluster_size)
    )
    return header + element(0x18538067, segment, segment_size)
