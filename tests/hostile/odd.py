"""Videos that are odd and whole: most of the real web's strangeness. Nearly all of them must be kept."""

from __future__ import annotations

import functools
from collections.abc import Iterator

from tests.hostile.clips import audio_with_cover, clip, packets, sound_only
from tests.hostile.containers import element, matroska
from tests.hostile.records import Specimen

_KEPT = frozenset({"kept"})
_WRAP = 25 * (1 << 33) // 90_000  # frames at which the 33-bit clock of MPEG-TS starts again


def odd_clips() -> Iterator[Specimen]:
    yield from _sizes()
    yield from _pixels()
    yield from _times()
    yield from _streams()
    yield from _joined()


def _sizes() -> Iterator[Specimen]:
    for codec, pixels, width, height in (
        ("ffv1", "gray", 1, 1),
        ("ffv1", "bgr0", 1, 1),
        ("mjpeg", "yuvj444p", 2, 2),
        ("ffv1", "yuv444p", 65, 49),
        ("libx264", "yuv444p", 33, 17),
        ("libvpx-vp9", "yuv420p", 3, 3),
        ("png", "gray", 1, 1999),
        ("mjpeg", "yuvj420p", 1999, 1),
        ("mjpeg", "yuvj420p", 60_000, 8),
        ("mjpeg", "yuvj420p", 8, 60_000),
    ):
        data = clip("mov" if codec == "png" else "matroska", codec, pixels, 6, (width, height))
        yield Specimen(f"sizes/{codec} {pixels} {width} x {height}", _KEPT, data, file_name="clip.mkv")
    for codec, width, height in (("png", 1_010, 1_000), ("ffv1", 8_200, 123)):
        data = clip("mov" if codec == "png" else "matroska", codec, "gray", 2, (width, height))
        name = f"sizes/{codec} {width} x {height}, more than are allowed"
        yield Specimen(name, frozenset({"permanent too_many_pixels"}), data, fields={"max_pixels": 1_000_000})


def _pixels() -> Iterator[Specimen]:
    for container, codec, pixels in (
        ("matroska", "libx264", "yuv420p10le"),
        ("mp4", "libx265", "yuv420p10le"),
        ("webm", "libvpx-vp9", "yuva420p"),
        ("matroska", "ffv1", "yuv444p16le"),
        ("matroska", "ffv1", "gray"),
        ("matroska", "ffv1", "gray16le"),
        ("matroska", "ffv1", "yuva420p"),
        ("mov", "png", "rgba"),
        ("mov", "png", "rgb48be"),
        ("mov", "qtrle", "argb"),
        ("mov", "prores_ks", "yuva444p10le"),
        ("gif", "gif", "rgb8"),
        ("apng", "apng", "rgba"),
        ("avi", "rawvideo", "bgr24"),
        ("mov", "rawvideo", "monow"),
        ("yuv4mpegpipe", "wrapped_avframe", "yuv411p"),
        ("nut", "huffyuv", "yuv422p"),
        ("mov", "v210", "yuv422p10le"),
    ):
        data = clip(container, codec, pixels, size=(96, 64))
        yield Specimen(f"pixels/{codec} {pixels} in {container}", _KEPT, data, file_name=f"clip.{container}")
    for degrees in (90, 180, -90, 45, 1):
        yield Specimen(f"pixels/rotated by {degrees}", _KEPT, clip("mp4", "mpeg4", rotation=degrees))
    interlaced = {"flags": "+ilme+ildct"}
    yield Specimen(
        "pixels/interlaced mpeg2", _KEPT, clip("mpegts", "mpeg2video", size=(64, 64), codec_options=interlaced)
    )
    fields = {"x264-params": "tff=1", "preset": "ultrafast"}
    yield Specimen("pixels/interlaced h264", _KEPT, clip("mp4", "libx264", codec_options=fields))


def _times() -> Iterator[Specimen]:
    yield Specimen("times/one frame", _KEPT, clip("mp4", "mpeg4", num_frames=1))
    yield Specimen("times/one frame of h264", _KEPT, clip("matroska", "libx264", num_frames=1))
    yield Specimen("times/two frames", _KEPT, clip("webm", "libvpx", num_frames=2))
    yield Specimen("times/variable rate", _KEPT, clip("mp4", "mpeg4", times=[0, 1, 2, 9, 10, 40, 41, 300, 301, 302]))
    yield Specimen("times/a frame in 100 seconds", _KEPT, clip("mp4", "mpeg4", times=[0, 2500, 5000, 7500]))
    yield Specimen("times/1000 frames a second", _KEPT, clip("mp4", "mpeg4", rate=1000))
    yield Specimen("times/60000 frames a second", _KEPT, clip("mp4", "mpeg4", rate=60_000))
    yield Specimen("times/before zero", _KEPT, clip("mp4", "libx264", times=range(-20, 10)))
    yield Specimen("times/the clock wraps", _KEPT, clip("mpegts", "libx264", times=range(_WRAP - 10, _WRAP + 20)))
    yield Specimen("times/begins after ten days", _KEPT, clip("matroska", "mpeg4", times=range(21_600_000, 21_600_012)))
    reordered = {"bf": "2"}
    yield Specimen("times/none, reordered", _KEPT, clip("avi", "libx264", num_frames=30, codec_options=reordered))
    yield Specimen("times/none, h264 alone", _KEPT, clip("h264", "libx264", num_frames=30), file_name="clip.h264")
    yield Specimen("times/none, mpeg4 alone", _KEPT, clip("m4v", "mpeg4"), file_name="clip.m4v")
    yield Specimen("times/none, jpegs alone", _KEPT, clip("mjpeg", "mjpeg", "yuvj420p"), file_name="clip.mjpeg")
    pictures = packets("mjpeg", "yuvj420p")
    yield Specimen("times/all zero", _KEPT, matroska(pictures, times=dict.fromkeys(range(12), 0)))
    yield Specimen("times/backwards", _KEPT, matroska(pictures, times={each: 440 - 40 * each for each in range(12)}))
    yield Specimen("times/a jump of 30 s", _KEPT, matroska(pictures, times={6: 30_000}))
    begun = clip("mpegts", "libx264", num_frames=60, codec_options={"g": "20"})
    yield Specimen("times/begins between key frames", _KEPT, begun[188 * (len(begun) // 188 // 6) :], file_name="a.ts")


def _streams() -> Iterator[Specimen]:
    no_video = frozenset({"poison no_video_stream"})
    for container, codec in (
        ("mp4", "aac"),
        ("wav", "pcm_s16le"),
        ("ogg", "libopus"),
        ("flac", "flac"),
        ("mp3", "mp3"),
    ):
        yield Specimen(
            f"streams/sound alone, {codec}", no_video, sound_only(container, codec), file_name=f"a.{container}"
        )
    for container in ("mp4", "mp3", "flac"):
        yield Specimen(f"streams/sound with a cover, {container}", no_video, audio_with_cover(container))
    pictures = packets("mjpeg", "yuvj420p")
    words = [b"hello"] * 12
    yield Specimen("streams/subtitles alone", no_video, matroska(words, "S_TEXT/UTF8", kind=17), file_name="a.mkv")
    program = element(
        0x61A7, element(0x466E, "../../evil.sh") + element(0x4660, "font/ttf") + element(0x465C, b"\x7fELF" * 9999)
    )
    attached = matroska(pictures, extra=element(0x1941A469, program + element(0x46AE, 1)))
    yield Specimen("streams/a program attached", _KEPT, attached, file_name="a.mkv")
    for number in (64, 5_000):
        # Beyond 1,000 streams FFmpeg gives up or takes the first ones.
        allowed = _KEPT | {"poison unreadable_container"}
        more = b"".join(_sound_track(2 + each) for each in range(number))
        yield Specimen(f"streams/{number} of sound", allowed, matroska(pictures, entries=more), file_name="a.mkv")
    late = b"\x08\0\0\4" + bytes(7) + b"\x06\0\0\0\0\0\0\x0f"  # a tag of sound, which no header announced
    film = clip("flv", "flv", num_frames=100, rate=2)
    yield Specimen("streams/one that appears at the end", _KEPT, film + late * 5, file_name="a.flv")
    tag = element(
        0x7373,
        element(0x63C0, b"")
        + element(0x67C8, element(0x45A3, b"\xff\xfe\x80" * 9) + element(0x4487, b"\xc3" * 999_999)),
    )
    yield Specimen("streams/a megabyte of broken letters", _KEPT, matroska(pictures, extra=element(0x1254C367, tag)))
    secret = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "00" * 16, "encryption_kid": "11" * 16}
    encrypted = clip("mp4", "libx264", container_options=secret)
    yield Specimen("streams/encrypted", frozenset({"kept", "poison"}), encrypted)


def _joined() -> Iterator[Specimen]:
    """Files glued together, as a broadcaster's recorder does: the size or the codec changes on the way."""
    segments = [clip("mpegts", "libx264", size=size) for size in ((64, 48), (96, 64), (32, 32))]
    yield Specimen("joined/segments of one size", _KEPT, segments[0] * 3, file_name="a.ts")
    yield Specimen("joined/segments of three sizes", _KEPT, b"".join(segments), file_name="a.ts")
    other = clip("mpegts", "mpeg2video", size=(64, 48))
    yield Specimen("joined/segments of two codecs", _KEPT, segments[0] + other, file_name="a.ts")
    yield Specimen("joined/mp4 and mp4", _KEPT, clip("mp4", "mpeg4") + clip("mp4", "mpeg4", size=(32, 32)))
    for codec, name in (("mjpeg", "V_MJPEG"), ("libvpx", "V_VP8"), ("libvpx-vp9", "V_VP9")):
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        frames = [
            coded for size in ((64, 48), (160, 120), (16, 16), (64, 48)) for coded in packets(codec, pixels, 8, size)
        ]
        yield Specimen(f"joined/{codec} of three sizes", _KEPT, matroska(frames, name), file_name="a.mkv")
    large = packets("mjpeg", "yuvj420p", 4) + packets("mjpeg", "yuvj420p", 2, (4_000, 2_000))
    # Probing decodes the first frame alone: what comes later is for tracking to bear.
    yield Specimen(
        "joined/small, then large", _KEPT, matroska(large), file_name="a.mkv", fields={"max_pixels": 1_000_000}
    )
    small = packets("libvpx", num_frames=8)
    enormous = matroska([*small, *[_enormous(small[0])] * 3], "V_VP8")
    yield Specimen("joined/small, then enormous", _KEPT, enormous, file_name="a.mkv")


def _enormous(frame: bytes) -> bytes:
    """A key frame of VP8 whose header claims 16,383 x 16,383 px, the most that its 14 bits hold (RFC 6386, 9.1)."""
    return frame[:6] + (0x3FFF).to_bytes(2, "little") * 2 + frame[10:]


@functools.cache
def _sound_track(number: int) -> bytes:
    sound = element(0xE1, element(0xB5, 8000.0) + element(0x9F, 1) + element(0x6264, 16))
    identity = element(0xD7, number) + element(0x73C5, number) + element(0x83, 2)
    return element(0xAE, identity + element(0x86, "A_PCM/INT/LIT") + sound)
