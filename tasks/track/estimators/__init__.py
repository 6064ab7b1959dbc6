"""Estimators and box trackers: one file each; a name, and the module that is imported when the name is selected."""

ESTIMATORS = {
    "klt": "tasks.track.estimators.klt",
    "torch": "tasks.track.estimators.torch",
    "farneback": "tasks.track.estimators.farneback",
    "dis": "tasks.track.estimators.dis",
    "opencl_farneback": "tasks.track.estimators.opencl_farneback",
    "opencl_dis": "tasks.track.estimators.opencl_dis",
    "raft": "tasks.track.estimators.raft",
}
"""A module's `make_estimator(device: str = "cpu")` makes its tasks.track.motion.PointEstimator."""

TORCH_ESTIMATORS = frozenset({"torch", "raft"})
"""Those that work on a torch device, and whose output rests on torch's version."""

BOX_TRACKERS = {
    "kcf": "tasks.track.estimators.kcf",
    "csrt": "tasks.track.estimators.csrt",
    "still": "tasks.track.estimators.still",
}
"""A module's `make_box_tracker()` makes its tasks.track.boxtracker.BoxTracker, for comparison; its `make_estimator` is
that of the estimator which measures the camera's motion for it."""
