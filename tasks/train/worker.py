"""One rank: `python -m tasks.train.worker`, started by torchrun."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tasks.train.watchdog import watch_parent

if TYPE_CHECKING:
    import torch


def main() -> int:
    """Train; returns the exit code. The parent learns of the end from its lines on stdout."""
    watch_parent()  # before torch is imported, which takes seconds
    import torch.distributed

    from tasks.train.device import resolve_device
    from tasks.train.job import read_job
    from tasks.train.rank import PATIENCE, run_rank

    job = read_job()

    def enter() -> torch.device:
        device = resolve_device(job.device, int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
        return device

    try:
        return run_rank(job, enter)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
