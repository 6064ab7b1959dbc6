"""What a data set has to show: its scores, its report, its counts. Needs no Prefect."""

from __future__ import annotations

from typing import Any

from storage.manifests import StoredFile, read_manifest
from storage.root import Root
from storage.tables import read_table
from storage.versions import Version
from tasks.evaluate import BENCHMARKS


def report_place(root: Root, version: Version) -> str | None:
    """The report's file or URL, or None where there is none."""
    unit = version.units.get("evaluate/report")
    manifest = read_manifest(root, "evaluate", unit.key) if unit else None
    if manifest is None:
        return None
    return file_place(root, manifest.files["report.html"])


def file_place(root: Root, file: StoredFile) -> str:
    """A URL of a unit's file, to open it by."""
    local = root.local_path(file.path)
    return local.resolve().as_uri() if local else f"{root.url.rstrip('/')}/{file.path}"


def scores_of(root: Root, version: Version) -> list[dict[str, Any]]:
    """The rows of every benchmark (SCORE_SCHEMA), in the order of their names."""
    rows: list[dict[str, Any]] = []
    for name, unit in sorted(version.units.items()):
        if name.removeprefix("evaluate/") in BENCHMARKS:
            manifest = read_manifest(root, "evaluate", unit.key)
            if manifest is not None:
                rows += read_table(root, manifest.files["scores.parquet"]).to_pylist()
    return rows
