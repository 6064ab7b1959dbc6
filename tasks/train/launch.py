"""Train a network in ranks that are processes of their own, listen to them, and start them again where one died."""

from __future__ import annotations

import logging
import os
import secrets
import tempfile
from collections.abc import Mapping

from storage.keys import JSON, KeyDocument
from storage.leases import Lease
from storage.manifests import Manifest, read_manifest, require_manifest
from storage.processes import num_cores
from storage.root import Root
from storage.shard_cache import cache_folder
from tasks.records import Progress, no_progress
from tasks.train.attempts import checkpoint_paths, keep_document, remove_attempts
from tasks.train.config import TrainConfig
from tasks.train.extra import require_extras
from tasks.train.hearing import Heard
from tasks.train.job import Device, Job
from tasks.train.starting import started
from tasks.train.turn import wait_for_turn

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
    of the cores. Ranks that are killed begin again from the newest checkpoint, `config.restarts` times without a new
    one between. With `config.machines` above 1, as many machines call this with the same root and key, and meet at
    `config.rendezvous`. Raises Dropped for data that cannot be trained on and for a run that diverged or collapsed,
    RuntimeError with the ranks' last words when they fail.
    """
    require_extras(config)
    attempt = secrets.token_hex(4)
    facts = {"key": document.key, "attempt": attempt}
    if config.machines > 1:
        facts["meeting"] = config.rendezvous
    with Lease(root, "train", facts) as lease:
        lease.protect([document.key])
        if committed := wait_for_turn(root, lease, document.key, progress):
            return committed
        keep_document(root, document)
        threads, cache = int(os.environ.get("OMP_NUM_THREADS", "0")), str(cache_folder())
        threads = threads or max(1, num_cores() // config.ranks)
        job = Job(root.url, triplets, config, document, device, threads, attempt, cache, seen or {})
        _train(root, job, progress)
        manifest = require_manifest(root, "train", document.key)
        remove_attempts(root, document.key)
    return manifest


def _train(root: Root, job: Job, progress: Progress) -> None:
    """One attempt from its first to its last step; raises as `train_network` does.

    Ranks of which one died begin again from the newest checkpoint, in processes that are all new: what a run does
    that was killed and is started again.
    """
    reached, restarts = _newest_checkpoint(root, job), 0
    while (ended := _run_ranks(job, progress)) is not None:
        died, last_words = ended
        if read_manifest(root, "train", job.document.key):
            return  # it died after the commit
        newest = _newest_checkpoint(root, job)
        restarts = 1 if newest != reached else restarts + 1
        if restarts > job.config.restarts:
            limit = f"train.restarts={job.config.restarts} without a new checkpoint between"
            raise RuntimeError(f"training ended: {died} ({limit}); run again to go on. {last_words}")
        reached = newest
        told = newest.rsplit("/", 1)[-1] or "the start"
        logger.warning("train: %s; all ranks begin again from %s (%d of %d)", died, told, restarts, job.config.restarts)


def _run_ranks(job: Job, progress: Progress) -> tuple[str, str] | None:
    """Start the ranks once and listen to their end; None where all is done.

    Else in words who died, where going on makes sense, and the ranks' last words.
    """
    heard = Heard(progress)
    with tempfile.TemporaryDirectory(prefix="tritrack-train-") as logs, started(job, logs) as process:
        assert process.stdout is not None, "stdout is a pipe"
        for line in process.stdout:
            heard.take(line)
        code = process.wait()
    if heard.dropped is not None:
        raise heard.dropped
    if code == 0:
        return None
    last_words = f"Last words:\n{heard.last_words}"
    if died := heard.what_died(code):
        return died, last_words
    raise RuntimeError(f"training ended with exit code {code}; run again to go on. {last_words}")


def _newest_checkpoint(root: Root, job: Job) -> str:
    """Its path; empty where there is none yet."""
    return next(iter(checkpoint_paths(root, job.document.key)), "")
