"""Folders of videos, on this machine's disk and in a store: what is named like a video, at any depth."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

from storage.root import Root
from tasks.download.stores import told_of_sources

logger = logging.getLogger(__name__)

# Containers that FFmpeg reads and that hold moving pictures; a file named otherwise is listed by name.
_VIDEO_NAME = re.compile(
    r".*\.(3g2|3gp|asf|avi|divx|dv|f4v|flv|gif|h264|h265|hevc|ivf|m2ts|m2v|m4v|mj2|mjpeg|mkv|mov|mp4|mpe|mpeg|mpg"
    r"|mts|mxf|nut|ogm|ogv|qt|rm|rmvb|ts|vob|webm|wmv|wtv|y4m)",
    re.IGNORECASE | re.DOTALL,
)


def is_video_name(name: str) -> bool:
    """Whether a file is named like a video."""
    return _VIDEO_NAME.fullmatch(name) is not None


def local_videos(folder: str) -> Iterator[str]:
    """The absolute paths of the video files of a local folder, hidden ones left out.

    A folder that may not be listed is left out with a warning. Raises ValueError where a disk fails: what lies there
    would be taken for removed.
    """

    def complain(error: OSError) -> None:
        if isinstance(error, PermissionError):
            logger.warning("sources: %r may not be listed, so its videos are left out", error.filename)
        elif not isinstance(error, FileNotFoundError):  # removed while it was read
            raise ValueError(f"sources: {error.filename!r} cannot be listed ({error.strerror}); check its disk")

    for parent, folders, names in os.walk(os.path.abspath(folder), onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and is_video_name(name):
                yield os.path.join(parent, name)


def stored_videos(location: str, root: Root, folder: str) -> Iterator[str]:
    """The video files below a folder of a store, at any depth, as locations; hidden ones are left out."""
    start = f"{folder}/" if folder else ""
    with told_of_sources():
        for entry in root.walk(folder):
            if is_video_name(entry.path) and entry.path.startswith(start):
                yield f"{location.rstrip('/')}/{entry.path[len(start) :]}"
