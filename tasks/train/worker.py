"""One rank: `python -m tasks.train.worker`, started by torch.distributed.run."""

from __future__ import annotations

import logging
import os
import sys
import traceback

from tasks.train.watchdog import watch_parent

logger = logging.getLogger(__name__)


def main() -> int:
    """Train; returns the exit code. The parent learns of the end from its lines on stdout."""
    watch_parent()  # before torch is imported, which takes seconds
    import torch.distributed

    from tasks.records import Dropped
    from tasks.train.device import resolve_device
    from tasks.train.job import EXIT_DROPPED, EXIT_STOPPED, TellHandler, read_job, tell
    from tasks.train.loop import Stopped, train

    job = read_job()
    rank = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING, format="%(message)s", handlers=[TellHandler()]
    )
    device = resolve_device(job.device, int(os.environ["LOCAL_RANK"]))
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        train(job, device)
        torch.distributed.barrier()  # no rank leaves before the commit
    except Dropped as dropped:  # perhaps on this rank alone, where it decoded a damaged image
        tell("dropped", kind=dropped.kind, reason=dropped.reason, words=dropped.words)
        return EXIT_DROPPED
    except Stopped as stopped:
        if rank == 0:
            tell("stopped", words=str(stopped))
        return EXIT_STOPPED
    except BaseException:
        tell("failed", words=traceback.format_exc())
        raise
    finally:
        torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
