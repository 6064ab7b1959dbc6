"""Surface normals from a depth image: planes fitted by least squares in a window about every pixel.

The inverse depth of a plane is an affine function of the pixel, whatever the depth's unit, so that the fit is a linear
one in two variables, and exact for planes. All its sums come of box filters, as in Holzer et al., "Adaptive
neighborhood selection for real-time surface normal estimation from organized point cloud data using integral images"
(IROS 2012) and Badino et al., "Fast and accurate computation of surface normals from range images" (ICRA 2011); that
the gradient of the inverse depth gives the normal, also Fan et al., "Three-filters-to-normal" (RA-L 2021). Squares of
inverse depths are the right ones for a Kinect, whose error is even in its disparity: Khoshelham and Elberink,
"Accuracy and resolution of Kinect depth data" (Sensors 2012).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Normals = npt.NDArray[np.float32]  # (H, W, 3), unit length, towards the camera; x right, y down, z forward
Mask = npt.NDArray[np.bool_]  # (H, W)
Doubles = npt.NDArray[np.float64]

_LEAST_SHARE = 0.5  # of the window's pixels that have a depth
_LEAST_SPREAD = 0.25  # of the variance that a whole window has along its narrower direction
# Root mean square of the inverse depths about the plane, over the pixel's own. A Kinect's are about 0.4 % off at 3 m;
# a window over an edge, of which the step is four times as much, has no plane.
_MOST_RESIDUAL = 0.01


@dataclass(frozen=True)
class Intrinsics:
    """Focal lengths and principal point, in px of the image."""

    fx: float
    fy: float
    cx: float
    cy: float

    def rays(self, height: int, width: int) -> npt.NDArray[np.float32]:
        """(H, W, 3): the direction of each pixel, with z = 1."""
        x = (np.arange(width, dtype=np.float32) - self.cx) / self.fx
        y = (np.arange(height, dtype=np.float32) - self.cy) / self.fy
        return np.stack([*np.meshgrid(x, y), np.ones((height, width), np.float32)], axis=2).astype(np.float32)


def normals_of_depth(
    depth: npt.NDArray[np.integer | np.floating], camera: Intrinsics, window_px: int
) -> tuple[Normals, Mask]:
    """Normals of a depth image (H, W), and where they are known: where most of a window lies on one plane.

    `depth`: along the optical axis, in any unit; 0 where unknown. `window_px`: the window's side, taken as odd.
    """
    radius = max(1, window_px // 2)
    steps = np.arange(-radius, radius + 1, dtype=np.float64)
    ones = np.ones_like(steps)
    seen = (depth > 0).astype(np.float64)
    near = np.divide(1.0, depth, out=np.zeros(depth.shape), where=depth > 0)  # inverse depths

    def total(image: Doubles, x: Doubles, y: Doubles) -> Doubles:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_64F, x, y, borderType=cv2.BORDER_CONSTANT))

    count = total(seen, ones, ones)
    enough = (count >= _LEAST_SHARE * len(steps) ** 2) & (depth > 0)
    share = 1 / np.maximum(count, 1)
    mean_x, mean_y = total(seen, steps, ones) * share, total(seen, ones, steps) * share
    var_x = total(seen, steps**2, ones) * share - mean_x**2
    var_y = total(seen, ones, steps**2) * share - mean_y**2
    covar = total(seen, steps, steps) * share - mean_x * mean_y
    mean = total(near, ones, ones) * share
    with_x = total(near, steps, ones) * share - mean_x * mean
    with_y = total(near, ones, steps) * share - mean_y * mean
    var = total(near**2, ones, ones) * share - mean**2

    determinant = var_x * var_y - covar**2
    narrow = determinant / np.maximum(var_x + var_y, 1e-12)  # at most the smaller variance, at least half of it
    enough &= narrow >= _LEAST_SPREAD * 0.5 * float(np.mean(steps**2))
    safe = np.where(enough, determinant, 1.0)
    slope_x = (with_x * var_y - with_y * covar) / safe
    slope_y = (with_y * var_x - with_x * covar) / safe
    here = mean - slope_x * mean_x - slope_y * mean_y  # the plane's inverse depth at the pixel itself
    residual = np.sqrt(np.maximum(var - slope_x * with_x - slope_y * with_y, 0))
    known = enough & (here > 0) & (residual <= _MOST_RESIDUAL * here)

    height, width = depth.shape
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    away = np.stack(
        [
            slope_x * camera.fx,
            slope_y * camera.fy,
            here + slope_x * (camera.cx - x) + slope_y * (camera.cy - y),
        ],
        axis=2,
    )
    length = np.linalg.norm(away, axis=2)
    known &= length > 0
    normals = np.where(known[..., None], -away / np.where(length > 0, length, 1)[..., None], 0)
    return normals.astype(np.float32), known
