"""Keys of the download stage: the source and what is fetched from it, nothing else.

Neither the code nor yt-dlp's version enters: a newer tool or an edited retry rule never downloads again.
"""

from __future__ import annotations

import functools
import os

from storage.keys import JSON, KeyDocument, Recipe
from tasks.configuration import key_parameters
from tasks.download.config import DownloadConfig
from tasks.download.redaction import redact
from tasks.download.sources import Source

SCHEMA = 1
FILE_RECIPE = Recipe(stage="download", schema=SCHEMA)


def key_document(config: DownloadConfig, source: Source) -> KeyDocument:
    """The key document of one source's download; reads a local file's size and time, no network.

    A local file is taken as it is, whatever the height cap. Its path can come to hold other bytes, and hashing
    every file at every plan would cost a full read, so its size and time of change (ns) stand for its content;
    both are null where it is missing. An object of a store is taken as it is too, and like a URL once and for all: to
    ask for its time would cost a request at every plan. A URL's secrets are redacted: the id tells it apart.
    """
    inputs: dict[str, JSON] = {"source": source.id, "location": redact(source.location)}
    if source.kind == "file":
        inputs |= file_state(source.location)
    return KeyDocument(FILE_RECIPE if source.kind in ("file", "object") else recipe(config), inputs)


@functools.lru_cache(maxsize=64)
def recipe(config: DownloadConfig) -> Recipe:
    """The recipe of what is fetched from URLs."""
    return Recipe(stage="download", schema=SCHEMA, parameters=key_parameters(config))


def file_state(path: str) -> dict[str, JSON]:
    """Size (bytes) and time of change (ns) of a local file, or nulls where there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return {"size": None, "modified_ns": None}
    return {"size": status.st_size, "modified_ns": status.st_mtime_ns}
