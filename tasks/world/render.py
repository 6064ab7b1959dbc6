"""Rendering: a video's frames with every truth, exact at pixel centres and never blended."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.world.cast import Hits, antialias, cast_pixels, shade_pixels
from tasks.world.config import WorldConfig
from tasks.world.scene import Camera, Shot, make_shot
from tasks.world.shapes import Floats, turn
from tasks.world.view import View, make_view

Box = tuple[float, float, float, float]
Bytes = npt.NDArray[np.uint8]
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ObjectTruth:
    """One solid or occluder in one frame.

    `box` is the tight (x, y, width, height) of its visible pixels, all 0 where none is; `full_box` that of
    its whole silhouette, others and the frame's edge ignored. `visibility`: visible pixels over those of
    the whole silhouette. `occlusion`: the share of the silhouette inside the frame that others, occluders too, hide.
    """

    object: int
    label: str
    box: Box
    full_box: Box
    visibility: float
    occlusion: float


@dataclass(frozen=True)
class Frame:
    """One frame and its truth. Normals, depth and flow have shape (0, ...) where truth was not asked for.

    `flow` and `homography` lead to the next frame; where that is another shot's or does not exist, flow is
    0 and invalid and the homography NaN. Flow follows surface points, also behind what hides them there.
    """

    index: int
    shot: int  # first frame of its shot
    is_cut: bool  # the first frame of a new shot; never true for frame 0
    image: Bytes  # (H, W, 3) RGB
    mask: Bytes  # (H, W) the number of the solid or occluder, 0 is the background
    objects: tuple[ObjectTruth, ...]
    occluders: tuple[ObjectTruth, ...]  # their truth; they are no objects of a benchmark
    camera: Camera
    homography: Floats  # (3, 3) of the background plane
    normals: Singles  # (H, W, 3) unit, camera frame: x right, y down, z forward; towards the camera
    depth: Singles  # (H, W) m along the optical axis
    flow: Singles  # (H, W, 2) px
    flow_valid: npt.NDArray[np.bool_]  # (H, W)


def render_video(config: WorldConfig, seed: int, index: int, truth: bool = True) -> Iterator[Frame]:
    """Frames of video `index` in order; without `truth` only colours, masks, boxes and homographies."""
    shot = make_shot(config, seed, index, 0)
    for frame in range(config.num_frames):
        if frame >= shot.stop:
            shot = make_shot(config, seed, index, frame)
        yield render_frame(shot, frame, truth)


def render_frame(shot: Shot, frame: int, truth: bool = True) -> Frame:
    """One frame of a shot."""
    view = make_view(shot, frame)
    hits = cast_pixels(view)
    shading = shade_pixels(view, hits)
    following = make_view(shot, frame + 1) if frame + 1 < shot.stop else None
    homography = _homography(view, following)
    shape = hits.owner.shape if truth else (0, 0)
    normals, flow = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 2), np.float32)
    if truth:
        normals[...] = turn(view.camera.rotation, shading.normals.T.astype(np.float64)).T.reshape(normals.shape)
        if following is not None:
            flow[...] = _flow(view, following, hits, homography)
    truths = _describe(shot, hits)
    numbers = np.array([0] + [thing.number for thing in (*shot.objects, *shot.occluders)], np.uint8)
    return Frame(
        index=frame,
        shot=shot.start,
        is_cut=frame == shot.start and frame > 0,
        image=antialias(view, hits, shading),
        mask=numbers[hits.owner],
        objects=truths[: len(shot.objects)],
        occluders=truths[len(shot.objects) :],
        camera=view.camera,
        homography=homography,
        normals=normals,
        depth=(hits.depth if truth else np.zeros(shape)).astype(np.float32),
        flow=flow,
        flow_valid=np.full(shape, following is not None),
    )


def _describe(shot: Shot, hits: Hits) -> tuple[ObjectTruth, ...]:
    """Boxes and shares of every solid, then of every occluder, also of those that nothing is seen of."""
    truths = []
    height, width = hits.owner.shape
    for row, (thing, outline) in enumerate(zip((*shot.objects, *shot.occluders), hits.outlines, strict=True), start=1):
        left, top, silhouette = outline
        inside = silhouette[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
        whole, within = np.count_nonzero(silhouette), np.count_nonzero(inside)
        above, before = max(top, 0), max(left, 0)
        seen = hits.owner[above : above + inside.shape[0], before : before + inside.shape[1]] == row
        visible = np.count_nonzero(seen)
        truths.append(
            ObjectTruth(
                object=thing.number,
                label=thing.label,
                box=_tight_box(seen, before, above),
                full_box=_tight_box(silhouette, left, top),
                visibility=visible / whole if whole else 0.0,
                occlusion=1 - visible / within if within else 0.0,
            )
        )
    return tuple(truths)


def _tight_box(mask: npt.NDArray[np.bool_], left: int, top: int) -> Box:
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not rows.size:
        return (0.0, 0.0, 0.0, 0.0)
    x, y = float(columns[0]), float(rows[0])
    return (left + x, top + y, columns[-1] - x + 1, rows[-1] - y + 1)


def _homography(view: View, following: View | None) -> Floats:
    if following is None:
        return np.full((3, 3), np.nan)
    homography = following.wall_to_image @ np.linalg.inv(view.wall_to_image)
    return np.asarray(homography / homography[2, 2])


def _flow(view: View, following: View, hits: Hits, homography: Floats) -> Singles:
    """Where the surface point under each pixel centre is in the next frame, minus where it is now."""
    height, width = hits.owner.shape
    columns, rows = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    scale = homography[2, 0] * columns + homography[2, 1] * rows + homography[2, 2]
    flow = np.empty((height, width, 2), np.float32)
    for axis, here in enumerate((columns, rows)):
        there = homography[axis, 0] * columns + homography[axis, 1] * rows + homography[axis, 2]
        flow[..., axis] = there / scale - here
    for row, (now, then) in enumerate(zip(view.solids, following.solids, strict=True), start=1):
        y, x = np.nonzero(hits.owner == row)
        points = now.local_points(x, y, hits.depth[y, x])
        flow[y, x] = (then.project(points) - np.stack([x, y])).T
    return flow
