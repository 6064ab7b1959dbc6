"""Probing: what a file says of itself is checked against its bytes, and what is no whole video is poison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tasks.download import probe
from tasks.download.probe import VideoFacts, probe_video
from tasks.records import Dropped
from tests.hostile.clips import clip, packets
from tests.hostile.containers import element, matroska


def facts_of(tmp_path: Path, data: bytes, max_pixels: int = 67_108_864) -> VideoFacts:
    path = tmp_path / "clip"
    path.write_bytes(data)
    return probe_video(path, max_pixels)


def outcome_of(tmp_path: Path, data: bytes, max_pixels: int = 67_108_864) -> Dropped:
    with pytest.raises(Dropped) as caught:
        facts_of(tmp_path, data, max_pixels)
    return caught.value


def film(num_frames: int = 40) -> bytes:
    """A clip of 96 by 64 pixels with the index at its front, as web videos have it."""
    options = {"movflags": "faststart"}
    return clip("mp4", "mpeg4", num_frames=num_frames, size=(96, 64), container_options=options)


def pictures() -> list[bytes]:
    """12 frames of Motion JPEG, 64 by 48 pixels."""
    return packets("mjpeg", "yuvj420p")


def test_a_whole_file_is_described(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, film())
    assert (facts.width, facts.height, facts.fps, facts.duration_seconds) == (96, 64, 25.0, 1.6)
    assert (facts.codec, facts.num_packets, facts.pixel_format) == ("mpeg4", 40, "yuv420p")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("data", [film(), clip("matroska", "mpeg4", num_frames=40)], ids=["mp4", "matroska"])
def test_a_file_that_ends_early_is_poison(tmp_path: Path, data: bytes, share: float) -> None:
    outcome = outcome_of(tmp_path, data[: int(share * len(data))])
    assert (outcome.kind, outcome.reason) == ("poison", "truncated")
    assert "ends before its bytes do" in outcome.words


def test_joined_segments_are_whole(tmp_path: Path) -> None:
    """FFmpeg marks the last packet before a joint as corrupt; an HLS download is full of them."""
    segment = clip("mpegts", "libx264")
    assert facts_of(tmp_path, segment * 3).num_packets == 36


def test_a_stream_that_begins_between_key_frames_is_kept(tmp_path: Path) -> None:
    data = clip("mpegts", "libx264", num_frames=60, codec_options={"g": "20"})
    assert facts_of(tmp_path, data[188 * (len(data) // 188 // 6) :]).num_packets < 60


@pytest.mark.parametrize(("degrees", "size"), [(90, (48, 64)), (-90, (48, 64)), (180, (64, 48)), (30, (64, 48))])
def test_the_size_is_upright(tmp_path: Path, degrees: int, size: tuple[int, int]) -> None:
    facts = facts_of(tmp_path, clip("mp4", "mpeg4", rotation=degrees))
    assert (facts.width, facts.height) == size


@pytest.mark.parametrize(
    ("data", "seconds", "fps"),
    [
        (clip("h264", "libx264", num_frames=30), 1.2, 25.0),
        (clip("avi", "libx264", num_frames=30, codec_options={"bf": "2"}), 1.2, 25.0),
        (clip("mp4", "mpeg4", num_frames=1), 0.04, 25.0),
        (clip("mp4", "mpeg4", times=[0, 2500, 5000]), 200.04, None),
        (clip("mp4", "mpeg4", times=range(-20, 10), num_frames=30), None, 25.0),
        (clip("mp4", "mpeg4", rate=60_000), 0.0002, 0.0),
        (matroska(pictures(), info=element(0x2AD7B1, 1_000_000) + element(0x4489, 1e300)), 0.48, 25.0),
        (matroska(pictures(), info=element(0x2AD7B1, 1_000_000) + element(0x4489, float("nan"))), 0.48, 25.0),
        (matroska(pictures(), info=element(0x2AD7B1, 1)), 0.0, 0.0),
    ],
    ids=["none", "none, reordered", "one frame", "slow", "before zero", "a clock", "1e300 s", "NaN", "nanoseconds"],
)
def test_times_are_those_of_the_packets_and_sane(
    tmp_path: Path, data: bytes, seconds: float | None, fps: float | None
) -> None:
    facts = facts_of(tmp_path, data)
    assert 0 <= facts.fps <= 1000
    assert 0 <= facts.duration_seconds <= 1e7
    assert seconds is None or facts.duration_seconds == seconds
    assert fps is None or facts.fps == fps


def test_frames_of_more_pixels_than_allowed_are_refused(tmp_path: Path) -> None:
    enormous = packets("libvpx", num_frames=1)[0]
    enormous = enormous[:6] + (0x3FFF).to_bytes(2, "little") * 2 + enormous[10:]  # RFC 6386, 9.1: 16,383 x 16,383
    cases: Sequence[tuple[bytes, int]] = (
        (film(), 96 * 64 - 1),
        (clip("matroska", "ffv1", size=(96, 64)), 96 * 64 - 1),
        (clip("mpegts", "libx264", size=(96, 64)), 96 * 64 - 1),
        (matroska([enormous] * 3, "V_VP8"), 67_108_864),
        (b"YUV4MPEG2 W60000 H60000 F25:1\nFRAME\n" + bytes(9999), 67_108_864),
    )
    for data, max_pixels in cases:
        outcome = outcome_of(tmp_path, data, max_pixels)
        assert (outcome.kind, outcome.reason) == ("permanent", "too_many_pixels"), outcome.words
        assert outcome.settings == ("max_pixels",)
        assert f"max_pixels = {max_pixels:,}" in outcome.words
    for data in (film(), clip("matroska", "ffv1", size=(96, 64)), clip("mpegts", "libx264", size=(96, 64))):
        assert facts_of(tmp_path, data, 96 * 64).width == 96


def test_a_header_that_claims_more_pixels_than_the_stream_has_is_no_matter(tmp_path: Path) -> None:
    facts = facts_of(tmp_path, matroska(pictures(), size=(60_000, 60_000)))
    assert (facts.width, facts.height) == (64, 48)


def test_more_packets_than_allowed_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_MAX_PACKETS", 2_000)
    outcome = outcome_of(tmp_path, matroska(pictures() + [b"\0"] * 3_000))
    assert (outcome.kind, outcome.reason) == ("poison", "too_many_packets")
    assert facts_of(tmp_path, matroska(pictures() * 100)).num_packets == 1_200


def test_a_codec_that_no_decoder_knows_is_named(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, clip("mov", "rawvideo", "rgb24").replace(b"raw ", b"zzzz"))
    assert (outcome.kind, outcome.reason) == ("poison", "unknown_codec")


def test_a_stream_that_appears_within_the_file_is_no_error(tmp_path: Path) -> None:
    sound = b"\x08" + (4).to_bytes(3, "big") + bytes(7) + b"\x06\0\0\0" + (15).to_bytes(4, "big")
    data = clip("flv", "flv", num_frames=1_000) + sound * 5
    assert facts_of(tmp_path, data).num_packets == 1_000


def test_bytes_that_speak_as_a_site_does_are_poison(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, b"<html>HTTP Error 429: confirm you're not a bot; video is private</html>")
    assert (outcome.kind, outcome.reason) == ("poison", "web_page")
    assert "not a bot" in outcome.words


def test_a_file_that_cannot_be_read_is_poison() -> None:
    with pytest.raises(Dropped) as caught:
        probe_video(Path("/proc/self/mem"))
    assert (caught.value.kind, caught.value.reason) == ("poison", "unreadable_container")
