"""Uploads in parts that never ended: S3 keeps (and bills) what a killed writer sent, and lists it nowhere else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from storage.retrying import persistently
from storage.root import Root, RootError, StoreUnavailable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Upload:
    """An upload in parts: the path that it would have had, its id, the bytes sent, and when it began (UTC)."""

    path: str
    id: str
    size: int
    began: datetime


def unfinished_uploads(root: Root) -> list[Upload]:
    """Uploads below the root that have begun and not ended.

    None where the store is not S3, cannot tell (not every likeness of S3 can), or these credentials may not ask.
    """
    if not hasattr(root.filesystem, "call_s3"):
        return []
    try:
        return list(_uploads(root))
    except StoreUnavailable:
        raise
    except (RootError, OSError, NotImplementedError) as error:
        logger.info("unfinished uploads cannot be listed (%s)", error)
        return []


def abort_upload(root: Root, upload: Upload) -> None:
    """Give up an upload and what was sent of it; quiet where it is gone already."""
    bucket, _, key = root.full(upload.path).partition("/")
    try:
        _call(root, "abort_multipart_upload", Bucket=bucket, Key=key, UploadId=upload.id)
    except FileNotFoundError:
        return


def _uploads(root: Root) -> Iterator[Upload]:
    bucket, _, prefix = root.full("").partition("/")
    where = {"Bucket": bucket, "Prefix": f"{prefix}/" if prefix else ""}
    after: dict[str, str] = {}
    while True:
        page = _call(root, "list_multipart_uploads", **where, **after)
        for upload in page.get("Uploads", ()):
            parts = _call(root, "list_parts", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
            size = sum(part["Size"] for part in parts.get("Parts", ()))  # of the first thousand parts
            path = upload["Key"].removeprefix(where["Prefix"])
            yield Upload(path, upload["UploadId"], size, upload["Initiated"].astimezone(UTC))
        if not page.get("IsTruncated"):
            return
        after = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}


def _call(root: Root, method: str, **arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = persistently(lambda: root.filesystem.call_s3(method, **arguments), root.url)
    return found
