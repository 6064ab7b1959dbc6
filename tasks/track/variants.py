"""Making what follows boxes: the estimator or box tracker of a name."""

from __future__ import annotations

from typing import Any

from storage.keys import JSON
from tasks.track.boxtracker import BoxFollower
from tasks.track.estimators import BOX_TRACKERS, ESTIMATORS
from tasks.track.follow import Follower, PointFollower
from tasks.track.motion import PointEstimator
from tasks.variants import load_variant


def make_estimator(name: str, device: str) -> PointEstimator[Any]:
    """The point estimator of that name; box trackers name the one that measures the camera's motion for them."""
    estimator: PointEstimator[Any] = load_variant(ESTIMATORS | BOX_TRACKERS, name, "estimator").make_estimator(device)
    return estimator


def make_follower(name: str) -> Follower:
    """A follower of boxes: by the estimator's points, or by a box tracker each."""
    if name in BOX_TRACKERS:
        return BoxFollower(load_variant(BOX_TRACKERS, name, "estimator").make_box_tracker)
    return PointFollower()


def describe_estimator(name: str) -> dict[str, JSON]:
    """What a result rests on beside the code and the versions in the key: the driver behind OpenCL."""
    if not name.startswith("opencl_"):
        return {}
    import cv2

    device = cv2.ocl.Device.getDefault()
    return {"opencl_device": device.name(), "opencl_driver": device.driverVersion()}
