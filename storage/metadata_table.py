"""The metadata table of a data set version: a row a source that gave a video, sorted by source.

It lies beside the tables that a version is read from, under its own digest, and versions share it while nothing
changes. Planning does not need it, so that it is read only by those who ask, and merged by columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from storage.manifests import StoredFile
from storage.metadata import Row
from storage.root import Root
from storage.tables import read_table
from storage.version_tables import store_table
from storage.versions import SourceEntry, Version

METADATA = pa.schema(
    [
        ("id", pa.string()),  # of the source: SHA-256 (hex) of its normalised location
        ("url", pa.string()),  # its location, without credentials
        ("extractor", pa.string()),
        ("title", pa.string()),
        ("uploader", pa.string()),
        ("licence", pa.string()),
        ("duration_seconds", pa.float64()),
        ("fps", pa.float64()),
        ("width", pa.int32()),  # pixels, as is the height
        ("height", pa.int32()),
        ("codec", pa.string()),
        ("container", pa.string()),
        ("sha256", pa.string()),  # of the video
        ("bytes", pa.int64()),
        ("yt_dlp", pa.string()),  # the version that fetched it
        ("fetched", pa.string()),  # ISO 8601, UTC
        ("fetch_seconds", pa.float64()),
        ("given", pa.string()),  # what its list said of it when it was fetched: a JSON object, or empty
    ]
)
_REPEATING = ("extractor", "uploader", "licence", "fps", "width", "height", "codec", "container", "yt_dlp", "fetched")


def read_metadata(root: Root, version: Version) -> pa.Table:
    """The metadata of a version, sorted by source id; without rows where it has none.

    Raises RootError where the table is missing or damaged.
    """
    file = version.tables.get("metadata")
    return METADATA.empty_table() if file is None else read_table(root, file)


def write_metadata(root: Root, current: Version, changed: Version) -> StoredFile | None:
    """Store the metadata of a changed version: the rows that stand, with those of `changed.fetched` in their place.

    Rows of sources that the version does not hold, or that have another video or none, are left out. Nothing is read
    or written where nothing changes. Returns where the table lies, None for one without rows. Raises RootError where
    the table that stands is missing or damaged, ValueError for a row with an unknown column.
    """
    standing = changed.tables.get("metadata")
    if not changed.fetched and (standing is None or not _lost_videos(current.sources, changed.sources)):
        return standing
    added = _of_held(_from_rows(changed.fetched), changed.sources)
    kept = _of_held(read_metadata(root, changed), changed.sources)
    kept = kept.filter(pc.invert(pc.is_in(kept["id"], added["id"].combine_chunks())))
    merged = pa.concat_tables([kept, added]).sort_by("id")
    return store_table(root, changed.name, "metadata", merged, _REPEATING) if len(merged) else None


def _lost_videos(before: Mapping[str, SourceEntry], after: Mapping[str, SourceEntry]) -> bool:
    """Whether a source is gone, or has not the video any more that it had."""
    if before == after:
        return False
    return any(
        entry.video is not None and (source not in after or after[source].video != entry.video)
        for source, entry in before.items()
    )


def _from_rows(rows: Mapping[str, Row]) -> pa.Table:
    if unknown := {column for row in rows.values() for column in row} - set(METADATA.names):
        raise ValueError(f"columns {sorted(unknown)} are not in the schema {METADATA.names}")
    columns = {name: [row.get(name) for row in rows.values()] for name in METADATA.names if name != "id"}
    return pa.Table.from_pydict({"id": list(rows), **columns}, METADATA)


def _of_held(table: pa.Table, sources: Mapping[str, SourceEntry]) -> pa.Table:
    """The rows whose source holds just that video."""
    ids = pa.array(sources, pa.string())
    videos = pa.array([entry.video for entry in sources.values()], pa.string())
    return table.filter(pc.equal(videos.take(pc.index_in(table["id"], ids)), table["sha256"]))
