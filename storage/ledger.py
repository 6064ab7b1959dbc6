"""The ledger: a row a unit that a stage ran or tried, one Parquet file a stage's run, kept for good.

`state/ledger/<time>-<stage>-<id>-<sha256[:16]>.parquet`; the names sort by when the runs began.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.history import UnitName
from storage.layout import LEDGER, named_digest
from storage.root import Root
from storage.tables import parquet_bytes

SCHEMA = 1
_SCHEMA_FIELD = b"tritrack_ledger"
_NAME = re.compile(r"(?P<time>\d{8}T\d{12}Z)-(?P<stage>[a-z_]+)-(?P<id>[0-9a-f]{8})-[0-9a-f]{16}\.parquet")
_log = logging.getLogger(__name__)

_UNIT_FIELDS = [
    ("stage", pa.string()),  # of the unit: evaluate's flow also runs units of `proposals` and `audit`
    ("key", pa.string()),
    ("item", pa.string()),  # as the stage calls it, secrets left out; empty once its video was purged
    ("started", pa.timestamp("us", tz="UTC")),  # null where it never began
    ("seconds", pa.float64()),  # of its process, with looking it up and committing it
    ("waited_seconds", pa.float64()),  # from when its batch was handed out to when it began
    ("bytes_in", pa.int64()),  # read from the store, and for a download what was fetched
    ("bytes_out", pa.int64()),  # of its files, where it was committed
    ("requests", pa.int64()),  # to the store
    ("peak_bytes", pa.int64()),  # memory of its process (`tasks.usage`)
    ("video_seconds", pa.float64()),  # length of its video, where it has one
    ("counts", pa.map_(pa.string(), pa.int64())),  # of its manifest
    ("device", pa.string()),
    ("workers", pa.int32()),  # processes that ran such units side by side
    ("outcome", pa.string()),  # committed, cached (found committed by a worker), failed or pending
    ("reason", pa.string()),  # of a failed one "class: slug"; of a pending one "left for later"
]
_RUN_FIELDS = [
    ("ledger", pa.string()),  # id of this file
    ("flow", pa.string()),  # the stage whose flow ran
    ("dataset", pa.string()),
    ("flow_run", pa.string()),  # Prefect's id of the stage's run
    ("parent_run", pa.string()),  # and of the run that called it (pipeline, refresh); empty where none did
    ("host", pa.string()),  # of the machine
    ("cores", pa.int32()),  # that this process may use
    ("run_started", pa.timestamp("us", tz="UTC")),
    ("run_seconds", pa.float64()),
    ("ended", pa.string()),  # what ended the run early, the name of an exception's class; empty where nothing did
]
UNIT_SCHEMA = pa.schema(_UNIT_FIELDS)
LEDGER_SCHEMA = pa.schema([*_RUN_FIELDS, *_UNIT_FIELDS], metadata={_SCHEMA_FIELD: str(SCHEMA).encode()})


@dataclass(frozen=True)
class LedgerFile:
    """One stage's run in the ledger."""

    path: str
    id: str
    flow: str
    started: datetime


@dataclass(frozen=True)
class StageRun:
    """What all rows of a file share; see LEDGER_SCHEMA."""

    flow: str
    dataset: str
    flow_run: str
    parent_run: str
    host: str
    cores: int
    started: datetime
    seconds: float
    ended: str


def write_ledger(root: Root, run: StageRun, units: pa.Table) -> str:
    """Store a run's rows (UNIT_SCHEMA); returns the file's path. Raises what the store raises."""
    while True:
        identity = secrets.token_hex(4)
        shared = (
            identity, run.flow, run.dataset, run.flow_run, run.parent_run, run.host, run.cores, run.started,
            run.seconds, run.ended,
        )  # fmt: skip
        columns = [
            pa.repeat(pa.scalar(value, type=kind), len(units))
            for value, (_, kind) in zip(shared, _RUN_FIELDS, strict=True)
        ]
        data = parquet_bytes(pa.table([*columns, *units.columns], schema=LEDGER_SCHEMA))
        path = _path(f"{run.started.astimezone(UTC):%Y%m%dT%H%M%S%fZ}-{run.flow}-{identity}", data)
        if root.create_bytes(path, data):
            return path


def ledger_files(root: Root) -> list[LedgerFile]:
    """Every stage's run, in the order of their beginning.

    Two files of one run are left by a purge that was interrupted; they tell the same costs, and one of them counts.
    """
    return list({file.id: file for file in _all_files(root)}.values())


def read_ledger(
    root: Root, files: Iterable[LedgerFile], columns: Sequence[str] | None = None
) -> Iterator[tuple[LedgerFile, pa.Table]]:
    """Each file with its rows (`columns` of LEDGER_SCHEMA, or all); one that is damaged, gone or of a newer Tritrack is
    left out."""
    by_path = {file.path: file for file in files}
    for path, data in root.read_many(by_path):
        if data is not None and (table := _parse(path, data, columns)) is not None:
            yield by_path[path], table


def forget_video(root: Root, video: str, locations: Collection[str], units: Collection[UnitName]) -> int:
    """Take a purged video's names out of the ledger: the items of its own rows become empty; returns how many did.

    Its rows are those of `units`, and whatever is called by the video (SHA-256) or by one of the `locations` that
    its sources have. What it cost stays. A file is written anew before the old one goes.
    """
    keys = pa.array(sorted({key for _, key in units}), pa.string())
    files = _all_files(root)
    names = {video, *locations}
    for _, table in read_ledger(root, files):  # under another configuration a source has another key, and the same name
        mine = table.filter(pc.is_in(table["key"], keys))
        names.update(mine.filter(pc.is_in(mine["stage"], pa.array(["download", "track"])))["item"].to_pylist())
    items = pa.array(sorted(names - {""}), pa.string())
    forgotten = 0
    for file, table in read_ledger(root, files):
        is_named = pc.is_in(table["item"], items)
        if not pc.any(is_named).as_py():
            continue
        forgotten += pc.sum(is_named).as_py()
        column = table.schema.get_field_index("item")
        without = table.set_column(column, LEDGER_SCHEMA.field("item"), pc.if_else(is_named, "", table["item"]))
        data = parquet_bytes(without)
        stem = file.path.rsplit("/", 1)[-1].rsplit("-", 1)[0]
        root.write_bytes(_path(stem, data), data)
        root.remove(file.path)
    return forgotten


def _all_files(root: Root) -> list[LedgerFile]:
    found = []
    for name in root.names(LEDGER):
        if match := _NAME.fullmatch(name):
            started = datetime.strptime(match["time"], "%Y%m%dT%H%M%S%fZ").replace(tzinfo=UTC)
            found.append(LedgerFile(f"{LEDGER}/{name}", match["id"], match["stage"], started))
    return found


def _path(stem: str, data: bytes) -> str:
    return f"{LEDGER}/{stem}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def _parse(path: str, data: bytes, columns: Sequence[str] | None) -> pa.Table | None:
    try:
        if hashlib.sha256(data).hexdigest()[:16] != named_digest(path):
            raise ValueError("its bytes do not match its name")
        with pq.ParquetFile(io.BytesIO(data), pre_buffer=False) as file:
            schema = int((file.schema_arrow.metadata or {})[_SCHEMA_FIELD])
            if schema <= SCHEMA:
                return file.read(columns=list(columns) if columns else None, use_threads=False)
            _log.warning("%s is of a newer Tritrack, and left out", path)
    except (ValueError, KeyError, OSError) as error:  # Arrow's errors are ValueErrors and OSErrors
        _log.warning("%s is damaged (%s), and left out", path, error)
    return None
