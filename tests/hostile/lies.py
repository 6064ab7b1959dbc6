"""MP4 files whose boxes lie: sizes, counts, offsets, times, and references to what lies elsewhere."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tests.hostile.clips import clip
from tests.hostile.containers import box, find_box, full_box, patched, replaced
from tests.hostile.records import Place, Specimen

_TRACK = (b"moov", b"trak")
_MEDIA = (*_TRACK, b"mdia")
_TABLE = (*_MEDIA, b"minf", b"stbl")
_MOST = 0xFFFFFFFF
_KEPT = frozenset({"kept"})
_POISON = frozenset({"poison"})
# Some lies make a file unreadable, and some are not asked about.
_EITHER = _KEPT | _POISON
_LARGE = frozenset({"permanent too_many_pixels"})
# An index of many millions of samples, which FFmpeg may build before a packet is read.
_HEAVY = _POISON | _KEPT


def lying_boxes(place: Place) -> Iterator[Specimen]:
    film = clip("mp4", "mpeg4")  # its moov comes last, so that what grows there moves no frame
    plain = clip("mov", "rawvideo", "rgb24")
    yield from _sizes(film, plain)
    yield from _times(film)
    yield from _tables(film)
    yield from _nesting(film)
    yield from _elsewhere(film, place)


def _sizes(film: bytes, plain: bytes) -> Iterator[Specimen]:
    wide = (60_000).to_bytes(2, "big") * 2
    entry = (*_TABLE, b"stsd")
    yield Specimen("lies/60,000 px, where the stream knows better", _KEPT, patched(film, (*entry, b"mp4v"), 24, wide))
    yield Specimen("lies/60,000 px of raw pixels", _LARGE, patched(plain, (*entry, b"raw "), 24, wide))
    yield Specimen("lies/0 px of raw pixels", _POISON, patched(plain, (*entry, b"raw "), 24, bytes(4)))
    yield Specimen("lies/a codec of no name", frozenset({"poison unknown_codec"}), plain.replace(b"raw ", b"zzzz"))
    yield Specimen("lies/a codec of broken letters", _POISON, plain.replace(b"raw ", b"\xff\xfe\x00\n"))
    yield Specimen("lies/another codec", _POISON, plain.replace(b"raw ", b"av01"))
    yield Specimen("lies/a track of text", _EITHER, film.replace(b"vide", b"text"))
    yield Specimen("lies/a matrix of zeros", _KEPT, patched(film, (*_TRACK, b"tkhd"), 40, bytes(36)))
    yield Specimen("lies/a matrix of the largest numbers", _KEPT, patched(film, (*_TRACK, b"tkhd"), 40, b"\x7f" * 36))
    start, end = find_box(film, *entry, b"mp4v", b"esds")
    yield Specimen("lies/a descriptor of 256 MB", _EITHER, film[: start + 5] + b"\xff\xff\xff\x7f" + film[start + 9 :])
    yield Specimen("lies/a descriptor of noise", _EITHER, film[:start] + bytes(range(end - start)) + film[end:])


def _times(film: bytes) -> Iterator[Specimen]:
    for name, path, offset, value in (
        ("a scale of 0", (*_MEDIA, b"mdhd"), 12, bytes(4)),
        ("the largest scale", (*_MEDIA, b"mdhd"), 12, b"\xff" * 4),
        ("a scale of 1", (*_MEDIA, b"mdhd"), 12, b"\0\0\0\1"),
        ("136 years", (*_MEDIA, b"mdhd"), 16, b"\xff\xff\xff\xfe"),
        ("no duration", (*_MEDIA, b"mdhd"), 16, bytes(4)),
        ("a film's scale of 0", (b"moov", b"mvhd"), 12, bytes(4)),
        ("a film of 136 years", (b"moov", b"mvhd"), 16, b"\xff\xff\xff\xfe"),
    ):
        yield Specimen(f"lies/{name}", _EITHER, patched(film, path, offset, value))
    for name, table in (
        ("a frame of 97 days", full_box(b"stts", 1, 12, _MOST)),
        ("frames of no time", full_box(b"stts", 1, 12, 0)),
        ("four billion times", full_box(b"stts", 1, _MOST, 512)),
        ("no times", full_box(b"stts", 0)),
        ("a count of four billion times", full_box(b"stts", _MOST)),
    ):
        yield Specimen(f"lies/{name}", _EITHER, replaced(film, (*_TABLE, b"stts"), table))
    for name, entries in (
        ("an edit before time", (1, 1000, _MOST - 9, 0x10000)),
        ("an edit of no rate", (1, 1000, 0, 0)),
        ("an edit beyond the end", (1, 0x7FFFFFFF, 0x7FFFFFFF, 0x10000)),
        ("a thousand edits", (1_000, *(1, 0, 0x10000) * 1_000)),
        ("a count of four billion edits", (_MOST, 1000, 0, 0x10000)),
    ):
        yield Specimen(
            f"lies/{name}", _EITHER, replaced(film, (*_TRACK, b"edts"), box(b"edts", full_box(b"elst", *entries)))
        )


def _tables(film: bytes) -> Iterator[Specimen]:
    for name, kind, table in (
        ("ten million samples", b"stsz", full_box(b"stsz", 1, 10_000_000)),
        ("four billion samples", b"stsz", full_box(b"stsz", 1, _MOST)),
        ("ten million samples of no bytes", b"stsz", full_box(b"stsz", 0, 10_000_000)),
        ("samples of four billion bytes", b"stsz", full_box(b"stsz", 0, 12, *[_MOST] * 12)),
        ("samples of 2 GB", b"stsz", full_box(b"stsz", 0x7FFFFFF0, 12)),
        ("no samples", b"stsz", full_box(b"stsz", 0, 0)),
        ("a hundred million samples a chunk", b"stsc", full_box(b"stsc", 1, 1, 100_000_000, 1)),
        ("a chunk number of 0", b"stsc", full_box(b"stsc", 1, 0, 1, 1)),
        ("a description that is not there", b"stsc", full_box(b"stsc", 1, 1, 1, 77)),
        ("chunks in the wrong order", b"stsc", full_box(b"stsc", 3, 9, 1, 1, 4, 2, 1, 1, 5, 1)),
        ("chunks beyond the end", b"stco", full_box(b"stco", 1, 0x7FFFFFFF)),
        ("chunks at 0", b"stco", full_box(b"stco", 1, 0)),
        ("chunks in their own table", b"stco", full_box(b"stco", 12, *range(400, 412))),
        ("a count of four billion chunks", b"stco", full_box(b"stco", _MOST, 48)),
        ("chunks at 2^63", b"stco", full_box(b"co64", 1, 0x7FFFFFFF, _MOST)),
    ):
        allowed = _HEAVY if "million" in name or "billion" in name else _EITHER
        yield Specimen(f"tables/{name}", allowed, replaced(film, (*_TABLE, kind), table))


def _nesting(film: bytes) -> Iterator[Specimen]:
    start, end = find_box(film, b"moov")
    moov, before = film[start:end], film[: start - 8]
    head = before[: int.from_bytes(before[:4], "big")]
    deep = b""
    for _ in range(2_000):
        deep = box(b"moov", deep)
    for name, data in (
        ("a box of size 0", before + box(b"moov", moov, size=0)),
        ("a box of size 7", before + box(b"moov", moov, size=7)),
        ("a box of 2 GB", before + box(b"moov", moov, size=0x7FFFFFFF)),
        ("a box of 2^63 bytes", before + b"\0\0\0\1moov" + b"\x7f" + b"\xff" * 7 + moov),
        ("a free box of 2^62 bytes first", before + b"\0\0\0\1free" + b"\x40" + bytes(7) + moov),
        ("a moov in a moov", before + box(b"moov", box(b"moov", moov))),
        ("2,000 moovs in each other", before + deep),
        ("two moovs", before + box(b"moov", moov) * 2),
        ("5,000 tracks", before + box(b"moov", moov + box(b"trak") * 5_000)),
        ("no moov", before),
        ("a moov alone", head + box(b"moov", moov)),
        ("an ftyp alone", head),
        ("an mdat alone", before[len(head) :]),
        ("a moov that unpacks to 64 MB", before + box(b"moov", _packed_moov(64_000_000))),
        ("a moov that says it unpacks to 4 GB", before + box(b"moov", _packed_moov(1_000, claimed=_MOST))),
        ("a megabyte of words", before + box(b"moov", moov + box(b"udta", box(b"\xa9nam", b"\xff" * 1_000_000)))),
        ("ten thousand free boxes", before + box(b"free") * 10_000 + film[len(before) :]),
    ):
        yield Specimen(f"nesting/{name}", _EITHER, data)
    fragmented = clip("mp4", "libx264", container_options={"movflags": "frag_every_frame+empty_moov"})
    start, _ = find_box(fragmented, b"moof", b"traf", b"trun")
    yield Specimen(
        "nesting/four billion samples a run", _EITHER, fragmented[: start + 4] + b"\xff" * 4 + fragmented[start + 8 :]
    )
    yield Specimen(
        "nesting/fragments of another track",
        _EITHER,
        patched(fragmented, (b"moof", b"traf", b"tfhd"), 4, b"\0\0\0\x09"),
    )


def _elsewhere(film: bytes, place: Place) -> Iterator[Specimen]:
    """Tracks whose samples lie in another file: FFmpeg must not open it."""
    for name, kind, target in (
        ("a file by URL", b"url ", f"file://{place.secret}\0".encode()),
        ("a server by URL", b"url ", f"{place.trap}/clip.mp4\0".encode()),
        ("a file by alias", b"alis", _alias(place.secret)),
    ):
        reference = full_box(b"dref", 1, tail=box(kind, bytes(4) + target))
        data = replaced(film, (*_MEDIA, b"minf", b"dinf", b"dref"), reference)
        yield Specimen(f"elsewhere/{name}", _EITHER, data)


def _alias(path: str) -> bytes:
    """QuickTime's alias of a file: 150 bytes that say where it was, then its path as a field of kind 2."""
    return bytes(150) + b"\0\2" + len(path).to_bytes(2, "big") + path.encode() + bytes(len(path) % 2) + b"\xff\xff"


def _packed_moov(num_bytes: int, claimed: int | None = None) -> bytes:
    """QuickTime's compressed movie header (cmov): `num_bytes` of zeros."""
    length = (num_bytes if claimed is None else claimed).to_bytes(4, "big")
    return box(b"cmov", box(b"dcom", b"zlib") + box(b"cmvd", length + zlib.compress(bytes(num_bytes), 9)))
