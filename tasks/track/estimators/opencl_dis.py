"""Dense inverse search through OpenCL; its variational refinement still runs on the CPU (OpenCV 5.0)."""

from __future__ import annotations

import cv2

from tasks.track.estimators.dis import make_dis
from tasks.track.estimators.opencl import OpenCLEstimator


def make_estimator(device: str = "cpu") -> OpenCLEstimator:
    """The estimator on OpenCV's OpenCL device, which OPENCV_OPENCL_DEVICE chooses; raises ValueError without one."""
    dis = make_dis()

    def flow(previous: cv2.UMat, following: cv2.UMat) -> cv2.UMat:
        field: cv2.UMat = dis.calc(previous, following, None)
        return field

    return OpenCLEstimator(flow)
