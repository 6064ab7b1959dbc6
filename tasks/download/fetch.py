"""Fetching one source: its bytes into the store by content, and the commit of its unit."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
from datetime import UTC, datetime
from pathlib import Path

from storage.keys import JSON, KeyDocument
from storage.layout import purged_path
from storage.manifests import Manifest, StoredFile, commit, video_path
from storage.root import Root, RootError, hash_file
from tasks.download.config import DownloadConfig
from tasks.download.failures import dropped
from tasks.download.filters import Offer, require_wanted
from tasks.download.key import file_state
from tasks.download.probe import VideoFacts, probe_video
from tasks.download.redaction import redact
from tasks.download.scratch import scratch_folder, scratch_root
from tasks.download.sources import UNUSABLE, Source
from tasks.download.stores import open_place
from tasks.download.ytdlp import TITLE_CHARACTERS, Fetched, fetch_url, said_licence
from tasks.records import Dropped, Listing, Paused, Progress, no_progress

logger = logging.getLogger(__name__)


def download_source(
    root: Root, source: Source, config: DownloadConfig, document: KeyDocument, progress: Progress = no_progress
) -> Manifest | Listing:
    """Fetch, probe and store one source, then commit its unit; a list gives its entries instead.

    Raises Dropped where it gives no video.

    The manifest's file `video.bin` is the video by content; its facts are what later stages and a reader of
    provenance need. A failing store raises OSError or RootError: that is not the source's fault. Raises Paused
    where a disk is full, or has less than `min_free_bytes` free.
    """
    start = time.monotonic()
    require_space(root, config.min_free_bytes)
    with scratch_folder(document.key) as scratch:
        fetched = _fetch(source, config, scratch, progress)
        if isinstance(fetched, Listing):
            return fetched
        facts = probe_video(fetched.path, config.max_pixels)
        require_wanted(Offer(facts.duration_seconds, facts.height, fetched.licence), config)
        stored = _store(root, source, document, fetched.path)
    manifest = commit(
        root,
        document,
        {"video.bin": stored},
        counts={"bytes": stored.size},
        facts=_facts(source, fetched, facts, stored),
        seconds=time.monotonic() - start,
    )
    standing = str(manifest.facts["video"])
    if standing != stored.sha256 and not root.exists(video_path(standing)):
        words = f"it gives {stored.sha256} now; {standing}, which tracks were made from, was dropped"
        raise Dropped("permanent", "other_bytes", f"{redact(source.location)} has changed: {words}")
    logger.info(
        "download: %s gave video %s, %d bytes, %d x %d, %.1f s",
        redact(source.location), stored.sha256[:16], stored.size, facts.width, facts.height, facts.duration_seconds,
    )  # fmt: skip
    return manifest


def require_space(root: Root, min_free_bytes: int) -> None:
    """Raise Paused where the scratch folder's disk, or a local root's, has less than so many bytes free."""
    local = root.local_path("")
    for what, folder in (("scratch", scratch_root()), ("root", local)):
        free = shutil.disk_usage(folder).free if folder else min_free_bytes
        if free < min_free_bytes:
            raise Paused(
                f"{what}: {folder} has {free:,} bytes free, less than download.min_free_bytes = {min_free_bytes:,}; "
                "free space and run again, all that is committed is kept"
            )


def _fetch(source: Source, config: DownloadConfig, scratch: Path, progress: Progress) -> Fetched | Listing:
    if source.location.startswith(UNUSABLE):
        raise Dropped("permanent", "unusable", source.location.split(":", 2)[2].strip())
    if source.kind == "file":
        return _local_file(source, config)
    if source.kind == "object":
        return _object(source, config, scratch)
    try:
        return fetch_url(source, config, scratch, progress)
    except Dropped as dropped:
        if dropped.reason != "disk_full":
            raise
        raise Paused(f"scratch: {scratch.parent} is full; free space and run again") from dropped


def _local_file(source: Source, config: DownloadConfig) -> Fetched:
    path = Path(source.location)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or device could be read for ever
            raise Dropped("permanent", "not_a_file", f"{source.location} is no regular file")
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise Dropped("permanent", "missing_file", str(error)) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise dropped(error) from error
    _require_size(status.st_size, config)
    return Fetched(path, "file", path.name[:TITLE_CHARACTERS], said_licence(source))


def _object(source: Source, config: DownloadConfig, scratch: Path) -> Fetched:
    """An object of a store, read in parts: its size is known before a byte of it is."""
    path = scratch / "object"
    try:
        place = open_place(source.location, config.allow_stores)
        if place is None:
            words = f"{redact(source.location)} lies in no store that allow_stores names"
            raise Dropped("permanent", "store_not_allowed", words, ("allow_stores",))
        store, name = place
        _require_size(store.size(name), config)
        store.download(name, path)
    except FileNotFoundError as error:
        raise Dropped("permanent", "missing_object", str(error)) from error
    except RootError as error:
        raise dropped(error) from error
    return Fetched(path, "object", name.rpartition("/")[2][:TITLE_CHARACTERS], said_licence(source))


def _require_size(size: int, config: DownloadConfig) -> None:
    if size > config.max_bytes:
        words = f"{size} bytes, more than max_bytes = {config.max_bytes}"
        raise Dropped("permanent", "too_large", words, ("max_bytes",))


def _store(root: Root, source: Source, document: KeyDocument, path: Path) -> StoredFile:
    """Upload the bytes under their digest, unless they lie there whole already."""
    sha256, size = hash_file(path)
    if root.exists(purged_path(sha256)):
        raise Dropped("permanent", "purged", f"video {sha256} was purged from this root")
    stored = StoredFile(video_path(sha256), size, sha256)
    is_new = not root.exists(stored.path) or root.size(stored.path) != size
    if is_new:
        root.upload(path, stored.path)
    if source.kind == "file" and file_state(os.fspath(path)).items() - document.inputs.items():
        if is_new:
            root.remove(stored.path)
        raise Dropped("transient", "changed_while_read", f"{source.location} was written to while it was read")
    return stored


def _facts(source: Source, fetched: Fetched, facts: VideoFacts, stored: StoredFile) -> dict[str, JSON]:
    return {
        "video": stored.sha256,
        "location": redact(source.location),
        "extractor": fetched.extractor,
        "title": fetched.title,
        "licence": fetched.licence,
        "uploader": fetched.uploader,
        "duration_seconds": facts.duration_seconds,
        "width": facts.width,
        "height": facts.height,
        "fps": facts.fps,
        "codec": facts.codec,
        "container": facts.container,
        "pixel_format": facts.pixel_format,
        "num_packets": facts.num_packets,
        "yt_dlp": fetched.tool,
        "fetched": datetime.now(UTC).isoformat(timespec="seconds"),
    }
