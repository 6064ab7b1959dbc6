"""Named frames of stored videos, and square crops of them."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

from storage.manifests import video_path
from storage.root import Root
from tasks.networks.pictures import squeezed

Frame = npt.NDArray[np.uint8]  # (H, W, 3), RGB
_OPEN_OPTIONS = {"protocol_whitelist": "file"}  # a play list among the videos must not fetch anything


@contextmanager
def local_video(root: Root, video: str) -> Iterator[Path]:
    """A stored video (SHA-256) as a local file; a remote one is copied for as long as it is needed."""
    path = root.local_path(video_path(video))
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="tritrack-evaluate-") as folder:
        copy = Path(folder) / "video"
        root.download(video_path(video), copy)
        yield copy


def read_frames(path: Path, wanted: Collection[int]) -> Iterator[tuple[int, Frame]]:
    """The wanted frames of a video as (index, frame), in order, upright; indices count decoded frames from 0.

    Decoding ends after the last wanted frame. Frames that cannot be decoded, or that lie behind the place
    where decoding breaks, are missing from the result: the caller counts them.
    """
    remaining = set(wanted)
    if not remaining:
        return
    try:
        container = av.open(f"file:{path}", options=dict(_OPEN_OPTIONS), metadata_errors="replace")
    except av.FFmpegError:
        return
    with container:
        pictures = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
        if not pictures:
            return
        pictures[0].codec_context.thread_count = 1
        for index, frame in enumerate(_decode(container.demux(pictures[0]))):
            if index in remaining:
                remaining.discard(index)
                turns = round(frame.rotation / 90) % 4  # anti-clockwise, as in numpy.rot90
                yield index, np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
            if not remaining:
                return


def square_crop(frame: Frame, box: tuple[float, float, float, float], context: float, side_px: int) -> Frame:
    """The square around a box (x, y, width, height in px), scaled to (side_px, side_px, 3).

    Its side is `context` times the box's longer side; beyond the frame's edge the picture is reflected.
    """
    x, y, width, height = box
    side = max(1, round(context * max(width, height)))
    left = round(x + width / 2 - side / 2)
    top = round(y + height / 2 - side / 2)
    rows = _reflected(np.arange(top, top + side), frame.shape[0])
    columns = _reflected(np.arange(left, left + side), frame.shape[1])
    return squeezed(frame[np.ix_(rows, columns)], side_px)


def _reflected(positions: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.int64]:
    """Positions mirrored into 0 .. length - 1, the edge pixel not repeated."""
    if length == 1:
        return np.zeros_like(positions)
    period = 2 * (length - 1)
    folded = positions % period
    return np.minimum(folded, period - folded)


def _decode(packets: Iterator[av.Packet]) -> Iterator[av.VideoFrame]:
    """Frames in order; broken packets before the first frame are passed over, one after it ends the video."""
    started = False
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except av.error.InvalidDataError:
            if started:
                return
            continue
        except av.FFmpegError:
            return
        if packet is None:
            return
        for frame in frames:
            started = True
            yield frame
