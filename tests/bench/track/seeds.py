"""Boxes to follow whose truth is known: real sequences, and videos of the generated world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tasks.track.boxes import Box, box_iou
from tasks.track.decode import VideoDecoder
from tasks.track.frames import WorkingFrame, working_frame
from tasks.track.truth import MIN_IOU, TruthFrame, judge_track
from tests.bench.track.worlds import WorldVideo

GAP = 30  # frames
EVERY = 5
WORKING_HEIGHT_PX = 240
FULL_HEIGHT_PX = 480  # of DAVIS; nothing is scaled up
CROSSING = "Crossing"
_MIN_SIDE_PX = 20  # of what is seen of a solid
_MIN_VISIBLE = 0.5
_MAX_OCCLUSION = 0.3


@dataclass(frozen=True)
class Verdict:
    """How a box that was followed over the gap ended.

    `cause`: why a wrong one in a generated world is wrong; `on_mask` is None where there is no mask of the object.
    """

    iou: float
    centred: bool
    right: bool
    cause: str = ""
    on_mask: bool | None = None


@dataclass(frozen=True)
class Seed:
    """A true box at a frame; `end` is the true box `GAP` frames later, `thing` the solid's number in a world."""

    start: int
    box: Box
    end: Box | None = None
    thing: int = 0


@dataclass(frozen=True)
class Footage:
    """The frames of a video at working size and the boxes to follow in them, px of that size.

    masks: (H, W) bool at source size by frame number, where known; truth: of a generated world's video.
    """

    name: str
    frames: Sequence[WorkingFrame]
    seeds: Sequence[Seed]
    masks: dict[int, np.ndarray] | None = None
    truth: Sequence[TruthFrame] | None = None

    def judge(self, seed: Seed, boxes: Sequence[Box]) -> Verdict:
        """The verdict on the boxes (one a frame, the seed's first) that a tracker gave for a seed."""
        if self.truth is not None:
            path = [(box.x, box.y, box.width, box.height) for box in boxes]
            judged = judge_track(path, seed.start, self.truth, seed.thing)
            end = next((one for one in self.truth[seed.start + GAP].things if one.object == seed.thing), None)
            centred = end is not None and is_inside(boxes[-1], Box(*end.full_box))
            return Verdict(judged.iou, judged.cause != "cut" and centred, judged.right, judged.cause)
        assert seed.end is not None, "seeds of real sequences have their true end"
        iou, centred = box_iou(boxes[-1], seed.end), is_inside(boxes[-1], seed.end)
        mask = self.masks.get(seed.start + GAP) if self.masks else None
        on_mask = None if mask is None else self._on_mask(boxes[-1], mask)
        return Verdict(iou, centred, centred and iou > MIN_IOU, on_mask=on_mask)

    def _on_mask(self, box: Box, mask: np.ndarray) -> bool:
        frame = self.frames[0]
        column, row = int(box.centre[0] * frame.scale_x), int(box.centre[1] * frame.scale_y)
        height, width = mask.shape
        return 0 <= row < height and 0 <= column < width and bool(mask[row, column])


def is_inside(box: Box, truth: Box) -> bool:
    """Whether the box's centre lies in the true one."""
    x, y = box.centre
    return truth.x <= x <= truth.x + truth.width and truth.y <= y <= truth.y + truth.height


def real_sequences(data: Path, height_px: int, colour: bool = True) -> Iterator[Footage]:
    """The sequences of DAVIS below `data`, then Crossing of OTB, at most `height_px` high."""
    for path in sorted((data / "davis" / "videos").glob("*.mp4")):
        boxes = np.loadtxt(data / "davis" / "boxes" / f"{path.stem}.txt", delimiter=",", ndmin=2)
        with VideoDecoder(path) as decoder:
            frames = [working_frame(frame, height_px, colour) for frame in decoder]
        seeds = real_seeds(boxes, frames)
        yield Footage(path.stem, frames, seeds, _masks(data / "davis" / "masks" / path.stem, seeds))
    folder = data / "otb" / CROSSING
    if folder.is_dir():
        boxes = np.loadtxt(folder / "groundtruth_rect.txt", ndmin=2)  # its columns are parted by tabs
        boxes[:, :2] -= 1  # OTB counts pixels from 1
        paths = sorted((folder / "img").glob("*.jpg"))
        frames = [_picture(index, path, height_px) for index, path in enumerate(paths)]
        yield Footage(CROSSING, frames, real_seeds(boxes, frames))


def real_seeds(boxes: np.ndarray, frames: Sequence[WorkingFrame]) -> list[Seed]:
    """Seeds from the true boxes (T, 4) in source px; a frame without the object has a box of no size."""
    scale = np.array([frames[0].scale_x, frames[0].scale_y] * 2)
    true = [Box(*row) for row in (boxes[: len(frames)] / scale).tolist()]
    pairs = [(start, true[start], true[start + GAP]) for start in range(0, len(true) - GAP, EVERY)]
    return [Seed(start, box, end) for start, box, end in pairs if box.width > 0 and end.width > 0]


def world_sequence(video: WorldVideo, colour: bool) -> Footage:
    """A generated video as the miner sees it, coding included; seeds are the whole boxes of solids in clear view."""
    with VideoDecoder(video.path) as decoder:
        frames = [working_frame(frame, WORKING_HEIGHT_PX, colour) for frame in decoder]
    assert frames[0].scale_x == frames[0].scale_y == 1, "worlds are drawn at working size"
    return Footage(video.name, frames, world_seeds(video), truth=video.frames)


def world_seeds(video: WorldVideo) -> list[Seed]:
    """A seed for every solid that is seen well at every fifth frame."""
    return [
        Seed(start, Box(*thing.full_box), thing=thing.object)
        for start in range(0, len(video.frames) - GAP, EVERY)
        for thing in video.frames[start].things[: video.num_solids[start]]
        if thing.visibility >= _MIN_VISIBLE and thing.occlusion <= _MAX_OCCLUSION and min(thing.box[2:]) >= _MIN_SIDE_PX
    ]


def _picture(index: int, path: Path, height_px: int) -> WorkingFrame:
    bgr = cv2.imread(str(path))
    assert bgr is not None, f"{path} is no picture"
    rows, columns = bgr.shape[:2]
    height = min(height_px, rows)
    width = round(columns * height / rows)
    if height < rows:
        bgr = cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)
    return WorkingFrame(index, index / 25, grey, bgr, columns / width, rows / height)


def _masks(folder: Path, seeds: Sequence[Seed]) -> dict[int, np.ndarray]:
    masks = {}
    for seed in seeds:
        mask = cv2.imread(str(folder / f"{seed.start + GAP:05d}.png"), cv2.IMREAD_UNCHANGED)
        assert mask is not None, f"{folder} lacks the mask of frame {seed.start + GAP}"
        masks[seed.start + GAP] = mask > 0 if mask.ndim == 2 else mask.any(axis=2)
    return masks
