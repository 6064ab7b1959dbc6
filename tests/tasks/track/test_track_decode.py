"""Decoding of every kind of file that a source list may bring."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tasks.records import Dropped
from tasks.track.decode import VideoDecoder
from tasks.track.frames import working_frame
from tests.tasks.track.conftest import WriteVideo, turn_metadata


def gradient(height: int, width: int, num: int) -> list[np.ndarray]:
    """Frames that brighten from left to right, and with time; red on the left quarter of the top."""
    frames = []
    for index in range(num):
        grey = np.linspace(20, 200, width)[None, :].repeat(height, 0) + 2 * index
        frame = np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)
        frame[: height // 4, : width // 4] = (255, 0, 0)
        frames.append(frame)
    return frames


def decode(path: Path) -> tuple[list[np.ndarray], list[float], str]:
    with VideoDecoder(path) as decoder:
        frames = [(frame.rgb(), frame.seconds) for frame in decoder]
        return [pixels for pixels, _ in frames], [seconds for _, seconds in frames], decoder.stopped


def test_frames_come_whole_in_order_and_with_their_times(write_video: WriteVideo) -> None:
    written = gradient(64, 96, 8)
    read, seconds, stopped = decode(write_video("plain.mp4", written))
    assert stopped == ""
    assert np.allclose(seconds, np.arange(8) / 25)
    for one, other in zip(written, read, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4


def test_a_variable_rate_keeps_presentation_times(write_video: WriteVideo) -> None:
    times = [0, 1, 5, 6, 20, 21]
    _, seconds, _ = decode(write_video("variable.mkv", gradient(64, 96, 6), times=times))
    assert np.allclose(seconds, np.array(times) / 25, atol=2e-3)


def test_times_begin_at_the_first_frame(write_video: WriteVideo) -> None:
    _, seconds, _ = decode(write_video("late.mkv", gradient(64, 96, 3), times=[50, 51, 52]))
    assert np.allclose(seconds, [0, 0.04, 0.08], atol=2e-3)


@pytest.mark.parametrize(("height", "width"), [(61, 97), (33, 64), (64, 35), (1, 1)])
def test_odd_sizes_decode_and_scale(write_video: WriteVideo, height: int, width: int) -> None:
    path = write_video("odd.avi", gradient(height, width, 3), codec="ffv1", pixel_format="bgr0")
    read, _, _ = decode(path)
    assert [pixels.shape for pixels in read] == [(height, width, 3)] * 3
    with VideoDecoder(path) as decoder:
        working = working_frame(next(iter(decoder)), 32, colour=True)
    assert working.grey.shape == (min(32, height), max(1, round(width * min(32, height) / height)))
    assert working.bgr is not None
    assert working.bgr.shape == (*working.grey.shape, 3)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_rotation_metadata_is_applied(write_video: WriteVideo, turns: int) -> None:
    path = write_video("upright.mp4", gradient(64, 96, 3))
    upright, _, _ = decode(path)
    turn_metadata(path, turns)
    with VideoDecoder(path) as decoder:
        frame = next(iter(decoder))
        expected = np.rot90(upright[0], turns)
        assert (frame.height, frame.width) == expected.shape[:2]
        assert np.array_equal(frame.rgb(), expected)
        assert frame.scaled_grey(20, 30).shape == (30, 20)


def test_a_truncated_file_keeps_what_decodes(write_video: WriteVideo) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(40)]
    path = write_video("whole.mp4", noise, options={"movflags": "+faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    read, _, stopped = decode(path)
    assert 5 < len(read) < 40
    assert stopped


def test_a_file_without_its_index_is_unreadable(write_video: WriteVideo) -> None:
    path = write_video("noindex.mp4", gradient(64, 96, 20))
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(Dropped) as caught:
        decode(path)
    assert (caught.value.kind, caught.value.reason) == ("poison", "unreadable")
    assert "Invalid data" in caught.value.words


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html><body>no</body></html>", b"\x00" * 5000])
def test_bytes_that_are_no_video_are_dropped_with_the_tools_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "no: video"
    path.write_bytes(content)
    with pytest.raises(Dropped) as caught:
        decode(path)
    assert caught.value.kind == "poison"
    assert caught.value.reason in {"unreadable", "no_video_stream"}
    assert caught.value.words


def test_a_play_list_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(Dropped):
        decode(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(Dropped) as caught:
        decode(path)
    assert (caught.value.kind, caught.value.reason) == ("poison", "no_video_stream")
    assert "audio" in caught.value.words


def test_a_missing_file_is_an_error_of_the_caller(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        VideoDecoder(tmp_path / "absent")
