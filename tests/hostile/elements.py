"""Matroska, AVI, FLV, MPEG-TS, GIF and raw files whose headers lie."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from tests.hostile.clips import clip, packets
from tests.hostile.containers import UNKNOWN_SIZE, element, matroska
from tests.hostile.records import Specimen

_KEPT = frozenset({"kept"})
_POISON = frozenset({"poison"})
_EITHER = _KEPT | _POISON
_LARGE = frozenset({"permanent too_many_pixels"})
_MOST = b"\xff\xff\xff\xff"


def lying_headers() -> Iterator[Specimen]:
    yield from _matroska()
    yield from _avi()
    yield from _others()


def _matroska() -> Iterator[Specimen]:
    pictures = packets("mjpeg", "yuvj420p")

    def specimen(name: str, allowed: frozenset[str], data: bytes) -> Specimen:
        return Specimen(f"matroska/{name}", allowed, data, file_name="clip.mkv")

    scale = element(0x2AD7B1, 1_000_000)
    yield specimen("60,000 px, where the stream knows better", _KEPT, matroska(pictures, size=(60_000, 60_000)))
    raw = matroska([bytes(64 * 48 * 3)] * 3, "V_UNCOMPRESSED", (60_000, 60_000), track=element(0x2EB524, b"RGB\x18"))
    yield specimen("60,000 px of raw pixels", _LARGE | _POISON, raw)
    for name, seconds in (
        ("not a number", float("nan")),
        ("endless", float("inf")),
        ("negative", -1.0),
        ("1e300", 1e300),
    ):
        yield specimen(f"a duration that is {name}", _KEPT, matroska(pictures, info=scale + element(0x4489, seconds)))
    for name, number in (("0", 0), ("2^63", 1 << 63), ("1", 1)):
        yield specimen(f"a time scale of {name}", _EITHER, matroska(pictures, info=element(0x2AD7B1, number)))
    yield specimen("a frame of one nanosecond", _KEPT, matroska(pictures, track=element(0x23E383, 1)))
    yield specimen("a frame of 584 years", _KEPT, matroska(pictures, track=element(0x23E383, (1 << 64) - 1)))
    yield specimen("a codec of no name", frozenset({"poison unknown_codec"}), matroska(pictures, "V_HOSTILE"))
    yield specimen("a codec of one megabyte", _POISON, matroska(pictures, "V" * 1_000_000))
    yield specimen("another codec", _POISON, matroska(pictures, "V_MPEGH/ISO/HEVC"))
    yield specimen("private data of 2^40 bytes", _EITHER, matroska(pictures, track=element(0x63A2, b"x", size=1 << 40)))
    yield specimen("no sizes", _KEPT, matroska(pictures, segment_size=UNKNOWN_SIZE, cluster_size=UNKNOWN_SIZE))
    yield specimen("a segment of 2^50 bytes", _EITHER, matroska(pictures, segment_size=1 << 50))
    yield specimen("a cluster of 2^50 bytes", _EITHER, matroska(pictures, cluster_size=1 << 50))
    yield specimen("a cluster of no bytes", _EITHER, matroska(pictures, cluster_size=0))
    yield specimen("another kind of document", _EITHER, matroska(pictures, doc_type="hostile"))
    yield specimen("frames of no bytes", _EITHER, matroska([b""] * 12))
    laced = [b"\x81\0\0\x86\xff" + b"\xff" * 255]  # Xiph lacing of 256 frames whose sizes do not end
    yield specimen("lacing without an end", _EITHER, matroska(pictures + laced * 3))
    packed = element(
        0x6D80,
        element(
            0x6240, element(0x5031, 0) + element(0x5032, 1) + element(0x5033, 0) + element(0x5034, element(0x4254, 0))
        ),
    )
    bomb = zlib.compress(bytes(50_000_000), 9)
    yield specimen("frames that unpack to 50 MB", _EITHER, matroska([bomb] * 3, track=packed))
    deep = b""
    for _ in range(500):
        deep = element(0x67C8, deep)
    yield specimen(
        "500 tags in each other", _EITHER, matroska(pictures, extra=element(0x1254C367, element(0x7373, deep)))
    )
    chapters = element(0xB6, element(0x73C4, 1) + element(0x91, 0) + element(0x92, 1)) * 20_000
    yield specimen("20,000 chapters", _KEPT, matroska(pictures, extra=element(0x1043A770, element(0x45B9, chapters))))
    itself = element(0x4DBB, element(0x53AB, b"\x11\x4d\x9b\x74") + element(0x53AC, 0)) * 1_000
    yield specimen("an index of itself", _EITHER, matroska(pictures, extra=element(0x114D9B74, itself)))


def _avi() -> Iterator[Specimen]:
    good = clip("avi", "mpeg4")
    header, stream, picture = good.index(b"avih") + 8, good.index(b"strh") + 8, good.index(b"strf") + 8
    wide = (60_000).to_bytes(4, "little") * 2
    plain = clip("avi", "rawvideo", "bgr24")
    for name, allowed, data in (
        ("a rate of 0", _KEPT, _put(good, stream + 24, bytes(4))),
        ("a scale of 0", _KEPT, _put(good, stream + 20, bytes(4))),
        ("the largest rate", _KEPT, _put(good, stream + 24, _MOST)),
        ("four billion frames", _KEPT, _put(_put(good, stream + 32, _MOST), header + 16, _MOST)),
        ("4 GB a frame", _KEPT, _put(good, stream + 36, _MOST)),
        ("60,000 px, where the stream knows better", _KEPT, _put(good, picture + 4, wide)),
        ("60,000 px of raw pixels", _LARGE, _put(plain, plain.index(b"strf") + 12, wide)),
        ("a height of -2^31", _EITHER | _LARGE, _put(plain, plain.index(b"strf") + 16, b"\0\0\0\x80")),
        ("a format of 4 GB", _EITHER, _put(good, picture - 4, _MOST)),
        ("a list of 4 GB", _EITHER, _put(good, 16, _MOST)),
        ("an index of noise", _KEPT, good[: good.index(b"idx1") + 8] + bytes(range(256)) * 20),
        ("lists in each other", _EITHER, good[:12] + b"LIST\xff\xff\xff\x7fhdrl" * 5_000 + good[12:]),
    ):
        yield Specimen(f"avi/{name}", allowed, data, file_name="clip.avi")


def _others() -> Iterator[Specimen]:
    gif = clip("gif", "gif", "rgb8")
    yield Specimen("raw/a GIF of 65,535 px", _LARGE | _POISON, _put(gif, 6, _MOST), file_name="clip.gif")
    yield Specimen("raw/a GIF of no size", _EITHER, _put(gif, 6, bytes(4)), file_name="clip.gif")
    yield Specimen("raw/a Y4M of 60,000 px", _LARGE | _POISON, b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" + bytes(9_999))
    yield Specimen("raw/a Y4M of 65,536 px", _LARGE | _POISON, b"YUV4MPEG2 W65536 H65536 F0:0\nFRAME\n" + bytes(9_999))
    yield Specimen("raw/a Y4M of negative size", _LARGE | _POISON, b"YUV4MPEG2 W-64 H-48 F25:1\nFRAME\n" + bytes(9_999))
    yield Specimen("raw/a Y4M without an end of its line", _POISON, b"YUV4MPEG2 W64 H48 " + b"X" * 100_000)
    ivf = b"DKIF\0\0\x20\0VP80\xff\xff\xff\xff" + (25).to_bytes(4, "little") + b"\1\0\0\0" + _MOST + bytes(4)
    frame = packets("libvpx", num_frames=1)[0]
    sized = len(frame).to_bytes(4, "little") + bytes(8) + frame
    yield Specimen("raw/an IVF of 65,535 px, where the stream knows better", _KEPT, ivf + sized, file_name="clip.ivf")
    large = bytearray(frame)
    large[6:10] = (0x3FFF).to_bytes(2, "little") * 2  # RFC 6386, 9.1: 14 bits of width and of height
    yield Specimen(
        "raw/a VP8 frame of 16,383 px", _LARGE, ivf + len(frame).to_bytes(4, "little") + bytes(8) + bytes(large)
    )
    yield Specimen("raw/an IVF frame of 4 GB", _LARGE | _POISON, ivf + _MOST + bytes(8) + frame, file_name="clip.ivf")
    flv = clip("flv", "flv")
    nested = b"\x03" + b"\0\1a\x03" * 20_000  # objects in objects, in the data that scripts leave
    script = b"\x12" + len(nested).to_bytes(3, "big") + bytes(7) + b"\x02\0\nonMetaData"[:0] + nested
    yield Specimen(
        "raw/an FLV of objects in objects", _EITHER, flv[:13] + script + bytes(4) + flv[13:], file_name="a.flv"
    )
    packet = b"\x47\x40\x00\x10\x00\x00\xb0\x0d" + bytes(180)
    yield Specimen("raw/an MPEG-TS of tables alone", _POISON, packet * 2_000, file_name="a.ts")
    yield Specimen("raw/an MPEG-TS of sync bytes alone", _POISON, b"\x47" * 400_000, file_name="a.ts")
    yield Specimen("raw/start codes alone", _POISON, b"\0\0\1" * 100_000, file_name="a.h264")
    parameters = b"\0\0\0\1\x67\x64\xff\xff" * 50_000
    yield Specimen("raw/parameter sets alone", _POISON, parameters, file_name="a.h264")
    yield Specimen("raw/Ogg pages alone", _POISON, (b"OggS\0\2" + bytes(20) + b"\1\0") * 20_000, file_name="a.ogv")
    yield Specimen("raw/ID3 tags alone", _POISON, (b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(90)) * 2_000, file_name="a.mp3")


def _put(data: bytes, start: int, value: bytes) -> bytes:
    return data[:start] + value + data[start + len(value) :]
