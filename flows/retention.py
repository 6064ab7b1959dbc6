"""Retention: raw videos that are dropped once their tracks are committed."""

from __future__ import annotations

import logging

from flows.plan import stands
from flows.record import drop_tracked
from flows.stage import Run
from storage.manifests import video_path
from storage.versions import Version, dataset_names, latest_version, reached_videos
from tasks.track.key import key_document

_log = logging.getLogger(__name__)


def drop_videos(run: Run) -> None:
    """Drop the bytes of every video whose tracks are those that the configuration asks for.

    The version says so first: whoever reads it knows that the bytes may be gone. A video that must be tracked
    again later is fetched again.
    """
    if run.pending:
        return
    tracked = {
        video
        for video in _tracked(run.version)
        if not (entry := run.version.videos[video]).dropped and stands(entry, key_document(run.config.track, video))
    }
    for name in dataset_names(run.root):
        if tracked and name != run.dataset:
            other = latest_version(run.root, name)
            tracked -= reached_videos(other) - _tracked(other)  # it has yet to track them
    if tracked:
        run.record(lambda version: drop_tracked(version, tracked), f"{len(tracked)} raw videos dropped")
        run.root.remove_many([video_path(video) for video in sorted(tracked)])
        _log.info("track: dropped the bytes of %d videos that are tracked", len(tracked))


def _tracked(version: Version) -> set[str]:
    """The wanted videos whose tracks are committed."""
    return {
        video
        for video in reached_videos(version)
        if (entry := version.videos.get(video)) and entry.key and not entry.failure
    }
