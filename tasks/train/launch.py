"""Start the ranks of a training run, listen to them, and see that none outlives us."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psutil

from storage.keys import JSON, KeyDocument
from storage.leases import Lease
from storage.manifests import Manifest, require_manifest
from storage.root import Root
from storage.shard_cache import cache_folder
from tasks.records import Dropped, Progress, no_progress
from tasks.train.attempts import keep_document, remove_attempts
from tasks.train.config import TrainConfig
from tasks.train.job import JOB_VARIABLE, Device, Job, parse_line
from tasks.train.turn import wait_for_turn

_LAST_LINES = 25
_LEAVE_SECONDS = 10.0

logger = logging.getLogger(__name__)


def train_network(
    root: Root,
    triplets: str,
    config: TrainConfig,
    document: KeyDocument,
    *,
    seen: Mapping[str, JSON] | None = None,
    device: Device = "auto",
    progress: Progress = no_progress,
) -> Manifest:
    """Train a network on a triplet index (by key; empty where the objective learns from `config.images`) in
    `config.ranks` processes; returns the committed unit.

    `seen`: the data set and the number of its version, kept in the unit's facts. Goes on from the newest
    checkpoint of the same key. Of several attempts at one unit the oldest trains and the others wait, to return
    what it commits or to go on where it ended. Call it where it can be interrupted (the flow's main thread):
    whatever ends it, its processes end with it. Each rank takes `OMP_NUM_THREADS` threads, by default its share
    of the cores. Raises Dropped for data that cannot be trained on and for a run that diverged or collapsed,
    RuntimeError with the ranks' last words when they fail.
    """
    attempt = secrets.token_hex(4)
    with Lease(root, "train", {"key": document.key, "attempt": attempt}) as lease:
        lease.protect([document.key])
        if committed := wait_for_turn(root, lease, document.key, progress):
            return committed
        keep_document(root, document)
        threads, cache = int(os.environ.get("OMP_NUM_THREADS", "0")), str(cache_folder())
        threads = threads or max(1, _num_cores() // config.ranks)
        _train(Job(root.url, triplets, config, document, device, threads, attempt, cache, seen or {}), progress)
        manifest = require_manifest(root, "train", document.key)
        remove_attempts(root, document.key)
    return manifest


def _train(job: Job, progress: Progress) -> None:
    """One attempt from its first to its last step; raises as `train_network` does."""
    heard = _Heard(progress)
    with tempfile.TemporaryDirectory(prefix="tritrack-train-") as logs, _ranks(job, logs) as process:
        assert process.stdout is not None, "stdout is a pipe"
        for line in process.stdout:
            heard.take(line)
        code = process.wait()
    if heard.dropped is not None:
        raise heard.dropped
    if code != 0:
        raise RuntimeError(f"training ended with exit code {code}; run again to go on. Last words:\n{heard.last_words}")


@dataclass
class _Heard:
    """What the ranks said: progress and logs are passed on, the end is kept."""

    progress: Progress
    dropped: Dropped | None = None
    failure: str = ""
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_LAST_LINES))

    @property
    def last_words(self) -> str:
        return self.failure or "\n".join(self.lines)

    def take(self, line: str) -> None:
        """One line of the ranks' output."""
        record = parse_line(line)
        match record:
            case {"event": "progress", "step": int(step), "steps": int(steps), "loss": float(loss)}:
                self.progress(step, steps, f"loss {loss:.3f}")
            case {"event": "log", "level": int(level), "name": str(name), "message": str(message)}:
                self.lines.append(message)
                logging.getLogger(name).log(level, "%s", message)
            case {"event": "dropped", "kind": "permanent", "reason": str(reason), "words": str(words)}:
                self.dropped = Dropped("permanent", reason, words)
            case {"event": "stopped" | "failed", "words": str(words)}:
                self.failure = self.failure or words.strip()  # the first rank's; the others fail because it did
            case _:
                self.lines.append(line.rstrip())
                logger.debug("%s", line.rstrip())


@contextlib.contextmanager
def _ranks(job: Job, logs: str) -> Iterator[subprocess.Popen[str]]:
    """torchrun with its ranks; on leaving, none of them is left."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={job.config.ranks}"]
    # A free port of the loopback; the host's own name often does not resolve in containers.
    command += ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0", f"--rdzv-id={job.attempt}"]
    command += [f"--log-dir={logs}", "--local-addr=127.0.0.1", "--max-restarts=0", "-m", "tasks.train.worker"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,  # never written to: its end tells the ranks that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(job, os.environ),
        start_new_session=True,  # Ctrl-C reaches us alone, and we end the ranks in order
    )
    try:
        yield process
    finally:
        _end_tree(process)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _environment(job: Job, inherited: Mapping[str, str]) -> dict[str, str]:
    changes = {
        JOB_VARIABLE: job.to_json(),
        "OMP_NUM_THREADS": str(job.threads),
        "PYTHONUNBUFFERED": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # cuBLAS is deterministic only so
    }
    return {**inherited, **changes}


def _end_tree(process: subprocess.Popen[str]) -> None:
    """SIGTERM to the agent, which hands it on (ranks write a checkpoint); SIGKILL to who is left after 10 s."""
    try:
        agent = psutil.Process(process.pid)
        tree = [agent, *agent.children(recursive=True)]
    except psutil.NoSuchProcess:
        tree = []
    if process.poll() is None:
        process.terminate()
    _, left = psutil.wait_procs(tree, timeout=_LEAVE_SECONDS)
    for survivor in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    process.wait()


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
