"""Features of image files by the batch, and the Parquet file that holds them."""

from __future__ import annotations

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tasks.networks.encoder import Encoder
from tasks.networks.pictures import Picture, Unreadable, read_picture

BATCH_IMAGES = 64
_MOST_THREADS = 8  # each may hold one whole decoded image, 200 MB at the most that is taken unless asked for more
_ROW_GROUP_ROWS = 4096
_ROW_GROUP_BYTES = 32 << 20  # of features, before compression


def embed_files(
    paths: Sequence[str],
    encoder: Encoder,
    device: torch.device,
    table: FeatureTable,
    *,
    max_pixels: int,
    progress: Callable[[int, int, str], None],
) -> dict[str, str]:
    """Write a row to the table for each image file, in order, and return what could not be read: why, by path.

    A batch is read by threads while the one before it is computed, so memory holds two batches, however many files
    there are.
    """
    encoder = encoder.to(device)
    unreadable: dict[str, str] = {}
    done = 0

    def read(path: str) -> Picture | Unreadable:
        try:
            return read_picture(path, encoder.input_px, max_pixels)
        except Unreadable as error:
            return error

    with _quiet_opencv():
        for batch, pictures in _read_ahead(paths, read):
            unreadable |= {
                path: str(one) for path, one in zip(batch, pictures, strict=True) if isinstance(one, Unreadable)
            }
            if kept := [one for one in pictures if isinstance(one, Picture)]:
                images = torch.from_numpy(np.stack([one.pixels for one in kept])).permute(0, 3, 1, 2)
                with torch.inference_mode():
                    table.add(kept, encoder(images.to(device)).float().cpu().numpy())
            done += len(batch)
            progress(done, len(paths), "")
    return unreadable


class FeatureTable:
    """Writes `path`, a Parquet file with one row an image: path, width, height, feature (fixed-size list of float32).

    Row groups go to disk as they fill; the file gets its name when the block ends without an error, in one step, and
    only if it has rows. `facts` are kept as JSON in the file's metadata under "tritrack".
    """

    def __init__(self, path: Path, width: int, facts: Mapping[str, str | int]) -> None:
        self._path = path
        self._width = width
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        self._rows = max(1, min(_ROW_GROUP_ROWS, _ROW_GROUP_BYTES // (4 * width)))
        self._schema = pa.schema(
            [
                pa.field("path", pa.string(), nullable=False),
                pa.field("width", pa.int32(), nullable=False),
                pa.field("height", pa.int32(), nullable=False),
                pa.field("feature", pa.list_(pa.float32(), width), nullable=False),
            ],
            metadata={"tritrack": json.dumps(dict(facts))},
        )
        self._waiting: list[pa.RecordBatch] = []
        self._written = 0

    def __enter__(self) -> Self:
        self._writer = pq.ParquetWriter(self._partial, self._schema, compression="zstd", use_dictionary=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
            self._writer.close()
            if kind is None and self._written:
                os.replace(self._partial, self._path)
        finally:
            self._partial.unlink(missing_ok=True)

    def add(self, pictures: Sequence[Picture], features: npt.NDArray[np.float32]) -> None:
        """Rows for pictures and their features (B, width)."""
        assert features.shape == (len(pictures), self._width), "one vector a picture"
        columns = [
            pa.array([one.path for one in pictures], pa.string()),
            pa.array([one.width for one in pictures], pa.int32()),
            pa.array([one.height for one in pictures], pa.int32()),
            pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), pa.float32()), self._width),
        ]
        self._waiting.append(pa.RecordBatch.from_arrays(columns, schema=self._schema))
        if sum(batch.num_rows for batch in self._waiting) >= self._rows:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            rows = pa.Table.from_batches(self._waiting)
            self._writer.write_table(rows, row_group_size=self._rows)
            self._written += rows.num_rows
            self._waiting = []


def _read_ahead(
    paths: Sequence[str], read: Callable[[str], Picture | Unreadable]
) -> Iterator[tuple[Sequence[str], list[Picture | Unreadable]]]:
    """Batches of paths and what was read of them; the next one is being read while the caller works."""
    waiting: deque[tuple[Sequence[str], list[Future[Picture | Unreadable]]]] = deque()
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for first in range(0, len(paths), BATCH_IMAGES):
            batch = paths[first : first + BATCH_IMAGES]
            waiting.append((batch, [pool.submit(read, path) for path in batch]))
            if len(waiting) == 2:
                ready, pictures = waiting.popleft()
                yield ready, [one.result() for one in pictures]
        for ready, pictures in waiting:
            yield ready, [one.result() for one in pictures]


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Its lines on damaged images would stand among ours, which name them."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
