"""The estimator that a device is best served by."""

from __future__ import annotations


def choose_estimator(device: str) -> str:
    """The name of the estimator for a torch device (`cpu`, `cuda`, `cuda:1`, `mps`): a row of ESTIMATORS.

    Batched Lucas-Kanade where there is CUDA, which keeps the frames on the device; OpenCV's Lucas-Kanade elsewhere.
    Raises ValueError where the device is not resolved yet (`auto`) or unknown.
    """
    kind = device.partition(":")[0]
    if kind not in {"cpu", "cuda", "mps"}:
        raise ValueError(f"device: {device!r} chooses no estimator; give cpu, cuda or mps")
    return "torch" if kind == "cuda" else "klt"
