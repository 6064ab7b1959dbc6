"""Dense flow of OpenCV through OpenCL: frames lie on the device as cv2.UMat, and only the flow comes back.

PyrLK is not offered: OpenCV's issue 5915 on its wrong results through OpenCL is still open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tasks.track.estimators.dis import padded
from tasks.track.motion import PointMotion, PointQuery, follow_by_flow

_REMEDY = (
    "install the OpenCL driver of the GPU, or pocl-opencl-icd with OPENCV_OPENCL_DEVICE=:CPU:0 set to use the CPU, "
    "or choose farneback or dis"
)

UMatFlow = Callable[[cv2.UMat, cv2.UMat], cv2.UMat]
"""Two frames on the device to the flow between them; OpenCV runs its kernels only where the flow stays there too."""


@dataclass(frozen=True, eq=False)
class OpenCLFrame:
    """A frame on the device, and its own size in px: a tiny one is padded there."""

    pixels: cv2.UMat
    height: int
    width: int


class OpenCLEstimator:
    """Points by a dense flow on the OpenCL device. Raises ValueError where OpenCV has none."""

    def __init__(self, flow: UMatFlow) -> None:
        cv2.ocl.setUseOpenCL(True)
        # OpenCV would go on with the CPU, silently: it takes a CPU as its device only where the environment says so.
        if not cv2.ocl.useOpenCL():
            raise ValueError(f"estimator: OpenCV found no OpenCL device; {_REMEDY}")
        self._flow = flow

    def prepare(self, grey: np.ndarray) -> OpenCLFrame:
        """The frame ((H, W) uint8) on the device."""
        pixels = cv2.UMat(padded(grey))  # type: ignore[call-overload]  # OpenCV's stubs lack this constructor
        return OpenCLFrame(pixels, *grey.shape)

    def follow(self, queries: Sequence[PointQuery[OpenCLFrame]]) -> list[PointMotion]:
        """The motion of every query's points, two flows a query."""
        return follow_by_flow(self._dense_flow, queries)

    def _dense_flow(self, previous: OpenCLFrame, following: OpenCLFrame) -> np.ndarray:
        flow: np.ndarray = self._flow(previous.pixels, following.pixels).get()
        return flow[: previous.height, : previous.width]
