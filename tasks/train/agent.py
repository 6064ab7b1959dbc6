"""torchrun with a watchdog, which tells how its ranks ended: `python -m tasks.train.agent ARGUMENTS OF TORCHRUN`."""

from __future__ import annotations

import logging
import sys

from tasks.train.job import EXIT_LOST, tell
from tasks.train.watchdog import watch_parent

logger = logging.getLogger(__name__)


def main() -> int:
    """Run the ranks of this machine to their end; returns the exit code."""
    watch_parent()  # before torch is imported, which takes seconds
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousConnectionError, RendezvousTimeoutError

    try:
        run.main(sys.argv[1:])
    except ChildFailedError as error:
        tell("ended", codes=[failure.exitcode for failure in error.failures.values()])
        return 1
    except RendezvousConnectionError:
        logger.warning("the machine of the rendezvous is gone", exc_info=True)
        tell("ended", codes=[EXIT_LOST])
        return 1
    except RendezvousTimeoutError:
        tell("failed", words="fewer machines came to train.rendezvous in 10 minutes than train.machines says")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
