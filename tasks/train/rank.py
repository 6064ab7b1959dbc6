"""What one rank does, whoever started it, and how it tells its end."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from datetime import timedelta

import torch
import torch.distributed

from tasks.records import Dropped
from tasks.train.distributed import is_first_here
from tasks.train.job import EXIT_DROPPED, EXIT_LOST, EXIT_STOPPED, Job, TellHandler, tell
from tasks.train.loop import Stopped, train

# A rank that waits for the others gives up after this. A dead process is noticed at once, a machine that froze or
# fell off the network only so. The first batch may wait for shards of hundreds of MB from a slow store.
PATIENCE = timedelta(minutes=10)


def run_rank(job: Job, enter: Callable[[], torch.device]) -> int:
    """Train; returns the exit code. `enter` opens the process group and gives the device.

    The first rank of a machine tells for all there. An error of its own is told and raised again; that another rank
    is gone is told, and ends with EXIT_LOST.
    """
    torch.set_num_threads(job.threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        device = enter()
        level = logging.INFO if is_first_here() else logging.WARNING
        logging.basicConfig(level=level, format="%(message)s", handlers=[TellHandler()], force=True)
        train(job, device)
        torch.distributed.barrier()  # no rank leaves before the commit
    except Dropped as dropped:  # perhaps on this rank alone, where it decoded a damaged image
        tell("dropped", kind=dropped.kind, reason=dropped.reason, words=dropped.words)
        return EXIT_DROPPED
    except Stopped as stopped:
        if is_first_here():
            tell("stopped", words=str(stopped))
        return EXIT_STOPPED
    except BaseException as error:
        if _is_loss(error):
            tell("lost", words=traceback.format_exc())
            return EXIT_LOST
        tell("failed", words=traceback.format_exc())
        raise
    return 0


def _is_loss(error: BaseException) -> bool:
    """Whether a collective failed because another rank, or the network to it, is gone."""
    # Gloo's own errors are plain RuntimeErrors, which begin with the place in its source.
    return isinstance(error, torch.distributed.DistError) or (
        isinstance(error, RuntimeError) and "/gloo/" in str(error)
    )
