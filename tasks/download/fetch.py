"""Fetching one source: its bytes into the store by content, and the commit of its unit."""

from __future__ import annotations

import logging
import os
import stat
import tempfile
import time
from pathlib import Path

from storage.keys import JSON, KeyDocument
from storage.manifests import Manifest, StoredFile, commit, video_path
from storage.root import Root, hash_file
from tasks.download.config import DownloadConfig
from tasks.download.failures import dropped
from tasks.download.key import file_state
from tasks.download.probe import VideoFacts, probe_video
from tasks.download.redaction import redact
from tasks.download.sources import Source
from tasks.download.ytdlp import TITLE_CHARACTERS, Fetched, fetch_url
from tasks.records import Dropped, Progress, no_progress

logger = logging.getLogger(__name__)


def download_source(
    root: Root, source: Source, config: DownloadConfig, document: KeyDocument, progress: Progress = no_progress
) -> Manifest:
    """Fetch, probe and store one source, then commit its unit; raises Dropped where it gives no video.

    The manifest's file `video.bin` is the video by content; its facts are what later stages and a reader of
    provenance need. A failing store raises OSError or RootError: that is not the source's fault.
    """
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tritrack-download-") as scratch:
        if source.kind == "url":
            fetched = fetch_url(source.location, config, Path(scratch), progress)
        else:
            fetched = _local_file(source, config)
        facts = probe_video(fetched.path)
        stored = _store(root, source, document, fetched.path)
    manifest = commit(
        root,
        document,
        {"video.bin": stored},
        counts={"bytes": stored.size},
        facts=_facts(source, fetched, facts, stored),
        seconds=time.monotonic() - start,
    )
    logger.info(
        "download: %s gave video %s, %d bytes, %d x %d, %.1f s",
        redact(source.location), stored.sha256[:16], stored.size, facts.width, facts.height, facts.duration_seconds,
    )  # fmt: skip
    return manifest


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
    if status.st_size > config.max_bytes:
        raise Dropped("permanent", "too_large", f"{status.st_size} bytes, more than max_bytes = {config.max_bytes}")
    return Fetched(path, extractor="file", title=path.name[:TITLE_CHARACTERS])


def _store(root: Root, source: Source, document: KeyDocument, path: Path) -> StoredFile:
    """Upload the bytes under their digest, unless they lie there whole already."""
    sha256, size = hash_file(path)
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
        "yt_dlp": fetched.tool,
    }
