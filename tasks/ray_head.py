"""A Ray cluster on this machine for as long as its parent wants it: `python -m tasks.ray_head CPUS`.

Its address is the first line of the output. It ends when its standard input does: the parent closes that, or is gone
(some of Ray's own processes outlive a driver that was killed).
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile

import psutil

_STORE_BYTES = 80_000_000  # near the least that Ray takes; only lines of text pass through it
_LEAVE_SECONDS = 5.0


def main() -> int:
    """Start it, tell its address, and end it in order; returns the exit code."""
    import ray

    with tempfile.TemporaryDirectory(prefix="tritrack-ray-") as scratch:
        try:
            ray.init(
                address="local",
                num_cpus=int(sys.argv[1]),
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=scratch,
            )
            sys.stdout.write(f"{ray.get_runtime_context().gcs_address}\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            family = psutil.Process().children(recursive=True)
            ray.shutdown()
            _, left = psutil.wait_procs(family, timeout=_LEAVE_SECONDS)
            for process in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(left, timeout=_LEAVE_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
