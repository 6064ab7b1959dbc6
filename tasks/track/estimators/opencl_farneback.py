"""Farneback's flow through OpenCL."""

from __future__ import annotations

from tasks.track.estimators.farneback import dense_flow
from tasks.track.estimators.opencl import OpenCLEstimator


def make_estimator(device: str = "cpu") -> OpenCLEstimator:
    """The estimator on OpenCV's OpenCL device, which OPENCV_OPENCL_DEVICE chooses; raises ValueError without one."""
    return OpenCLEstimator(dense_flow)
