"""Rows of a data set's metadata table: what a video is and where it came from, a row a source that gave one.

The rows say nothing that the manifests of the download units do not say, and can be made again from them.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.concurrency import in_threads
from storage.contents import examine_manifest
from storage.keys import JSON
from storage.manifests import Manifest
from storage.root import Root
from storage.versions import SourceEntry, Version

Row = Mapping[str, JSON]
"""A value by the name of its column; a column without one is null."""

_FACTS = {"location": "url", "video": "sha256"} | {
    name: name
    for name in (
        "extractor", "title", "uploader", "licence", "duration_seconds", "fps", "width", "height", "codec", "container",
        "yt_dlp",
    )
}  # fmt: skip


def metadata_row(
    facts: Mapping[str, JSON], *, num_bytes: int, fetch_seconds: float, fetched: str, given: str = ""
) -> Row:
    """The row of a source that gave a video, from the facts of its download unit.

    `fetched`: when (ISO 8601, UTC). `given`: what its list says of it, a JSON object, or empty.
    """
    row = {column: facts.get(name) for name, column in _FACTS.items()}
    return row | {"bytes": num_bytes, "fetched": fetched, "fetch_seconds": fetch_seconds, "given": given}


def rows_from_manifests(root: Root, version: Version) -> dict[str, Row]:
    """The rows of a version by source id, made again from the manifests of its download units.

    A source whose unit the version does not name has none: one that failed since it gave its video, or that is to
    be fetched again. Raises RootError where the store cannot be read.
    """

    def row_of(item: tuple[str, SourceEntry]) -> tuple[str, Row | None]:
        source, entry = item
        manifest = examine_manifest(root, "download", entry.key)
        if not isinstance(manifest, Manifest) or manifest.facts.get("video") != entry.video:
            return source, None
        return source, metadata_row(
            manifest.facts,
            num_bytes=manifest.counts.get("bytes", 0),
            fetch_seconds=manifest.seconds,
            fetched=str(manifest.facts.get("fetched", manifest.created)),
            given=entry.given,
        )

    named = ((source, entry) for source, entry in version.sources.items() if entry.video and entry.key)
    return {source: row for source, row in in_threads(row_of, named) if row is not None}
