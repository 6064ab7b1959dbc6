"""The ranks of a training run as workers of Ray Train: `python -m tasks.train.on_ray SCRATCH`, in torchrun's place.

Connects to the cluster of RAY_ADDRESS, or starts one on this machine that ends with this process.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tasks.ray_cluster import connected, prepare
from tasks.train.job import EXIT_LOST, JOB_VARIABLE, read_job, tell
from tasks.train.watchdog import watch_parent

if TYPE_CHECKING:
    import torch

_VARIABLES = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "CUBLAS_WORKSPACE_CONFIG")


def main() -> int:
    """Run the ranks to their end; returns the exit code. They tell their parent through a queue of the cluster."""
    watch_parent()  # before Ray is imported, which takes seconds
    prepare()
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.util.queue import Queue

    from tasks.train.rank import PATIENCE

    job, scratch = read_job(), sys.argv[1]
    variables = {name: os.environ[name] for name in _VARIABLES}
    with connected(least_cpus=job.config.ranks, runtime_env={"env_vars": variables}):
        try:
            has_gpus = bool(ray.cluster_resources().get("GPU"))
            use_gpu = job.device == "cuda" or (job.device == "auto" and has_gpus)
            queue = Queue(actor_options={"num_cpus": 0})
            trainer = TorchTrainer(
                _work,
                train_loop_config={"queue": queue, "job": os.environ[JOB_VARIABLE]},
                torch_config=TorchConfig("nccl" if use_gpu else "gloo", timeout_s=int(PATIENCE.total_seconds())),
                scaling_config=ScalingConfig(num_workers=job.config.ranks, use_gpu=use_gpu),
                run_config=RunConfig(name=job.attempt, storage_path=scratch),
            )
            with _passed_on(queue):
                trainer.fit()
        except TrainingFailedError as error:
            tell("lost", words=str(error))  # what a rank had to say for itself, it has told before
            tell("ended", codes=[EXIT_LOST])
            return 1
    return 0


def _work(config: dict[str, Any]) -> None:
    """One rank. Sent to the workers by value, so that a machine without Tritrack can say so."""
    sink = _Sink(config["queue"])
    with contextlib.redirect_stdout(sink):
        try:
            from tasks.train.job import JOB_VARIABLE, read_job
            from tasks.train.rank import run_rank
        except ImportError as error:
            sink.write(f'{{"event": "failed", "words": "tritrack is missing on a machine of the cluster: {error}"}}\n')
            raise
        os.environ[JOB_VARIABLE] = config["job"]
        code = run_rank(read_job(), _device)
    if code:
        raise RuntimeError(f"the rank ended with code {code}")  # so that Ray ends the others


def _device() -> torch.device:
    """The device that Ray gave this worker; its process group is open."""
    from ray.train.torch import get_device

    device: torch.device = get_device()
    return device


class _Sink(io.TextIOBase):
    """A standard output whose lines reach the parent: Ray may lose what its workers print as they end."""

    def __init__(self, queue: Any) -> None:
        self._queue = queue

    def write(self, text: str) -> int:
        self._queue.put(text)
        return len(text)


@contextlib.contextmanager
def _passed_on(queue: Any) -> Iterator[None]:
    """Writes to our own standard output what comes through the queue, all of it by the end."""

    def pass_on() -> None:
        while text := queue.get():
            sys.stdout.write(text)
            sys.stdout.flush()

    thread = threading.Thread(target=pass_on, name="pass-on", daemon=True)
    thread.start()
    try:
        yield
    finally:
        queue.put("")
        thread.join()


if __name__ == "__main__":
    sys.exit(main())
