"""Uploads in parts that never ended: S3 keeps (and bills) what a killed writer sent, and lists it nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.retrying import persistently
from storage.root import Root


@dataclass(frozen=True)
class Upload:
    """An upload in parts: the path that it would have had, its id, the bytes sent, and when it began (UTC)."""

    path: str
    id: str
    size: int
    began: datetime


def unfinished_uploads(root: Root) -> Iterator[Upload]:
    """Uploads below the root that have begun and not ended; none where the store is not S3."""
    if not _is_s3(root):
        return
    bucket, _, prefix = root.full("").partition("/")
    arguments = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    after: dict[str, str] = {}
    while True:
        page = _call(root, "list_multipart_uploads", **arguments, **after)
        for upload in page.get("Uploads", ()):
            path = upload["Key"].removeprefix(arguments["Prefix"])
            parts = _call(root, "list_parts", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            size = sum(part["Size"] for part in parts.get("Parts", ()))  # the first thousand parts
            yield Upload(path, upload["UploadId"], size, upload["Initiated"].astimezone(UTC))
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def abort_upload(root: Root, upload: Upload) -> None:
    """Give up an upload and what was sent of it; quiet where it is gone already."""
    bucket, _, key = root.full(upload.path).partition("/")
    try:
        _call(root, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.id)
    except FileNotFoundError:
        return


def _is_s3(root: Root) -> bool:
    return hasattr(root.filesystem, "call_s3")


def _call(root: Root, method: str, **arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = persistently(lambda: root.filesystem.call_s3(method, **arguments), root.url)
    return found
