"""Nights: what each refresh of a data set did, one sealed record a night, kept for good.

`state/nights/<dataset>/<time>.json`; the names sort by when the nights began.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime

from storage.root import Root
from storage.sealing import read_schema, seal, unseal
from storage.versions import version_path

SCHEMA = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Night:
    """One refresh of a whole data set. Times are ISO 8601, UTC; `started` and `ended` have microseconds.

    `scheduled`: when it was due. `version_before`, `version`: of the data set. `tried`: sources of which this night
    brought an outcome; `kept`: those that came through download and tracking; `dropped`: the others, by reason.
    `refused`: those of which their host wants nothing to be asked now. `pending`: all that were left for later, these
    too. `removed`, `returned`: sources that their lists stopped naming, or name again.
    `videos`, `tracks`, `minutes`: what was tracked this night. `dispersion`: variance of a video's number of tracks
    over its mean, given its length (1 if tracks came one by one, by chance); 0 where it is not known. `seconds` by
    stage. `pairs` in the version, `new_pairs` of them packed this night. `training`: why it trained, or why not.
    `settings`: by figure, a digest of the configuration that it rests on. `judged`: the figures that were compared
    with the nights before, `marks`: what was found then. `failed`: why it did not end, in one line. `run`: id of
    the Prefect flow run.
    """

    dataset: str
    started: str
    ended: str = ""
    scheduled: str = ""
    version_before: int = 0
    version: int = 0
    tried: int = 0
    kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    pending: int = 0
    removed: int = 0
    returned: int = 0
    videos: int = 0
    tracks: int = 0
    minutes: float = 0.0
    dispersion: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    pairs: int = 0
    new_pairs: int = 0
    trained: bool = False
    training: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    failed: str = ""
    run: str = ""
    schema: int = SCHEMA

    @property
    def due(self) -> int:
        """Sources that were tried, or would have been if their host had let us; not those that a budget left over."""
        return self.tried + self.refused

    @property
    def kept_share(self) -> float | None:
        """Of the sources that were due; None where none was."""
        return self.kept / self.due if self.due else None

    @property
    def tracks_per_minute(self) -> float | None:
        """Tracks a minute of video that was tracked; None where none was."""
        return self.tracks / self.minutes if self.minutes else None


def write_night(root: Root, night: Night) -> str:
    """Store a night's record; returns its path. Raises what the store raises."""
    moment = datetime.fromisoformat(night.started)
    path = f"{_folder(night.dataset)}/{moment:%Y%m%dT%H%M%S%fZ}.json"
    created = root.create_bytes(path, seal(asdict(night)))
    assert created, "one refresh of a data set at a time, and microseconds tell them apart"
    return path


def read_nights(root: Root, dataset: str, newest: int = 60) -> list[Night]:
    """The records of the `newest` nights, in the order of their beginning; one that cannot be read is left out.

    Raises RootError for a bad name, or where the store cannot be read.
    """
    folder = _folder(dataset)
    names = [name for name in root.names(folder) if name.endswith(".json")][-newest:]
    found = (_parse(path, data) for path, data in root.read_many(f"{folder}/{name}" for name in names))
    return [night for night in found if night is not None]


def _folder(dataset: str) -> str:
    version_path(dataset, 0)  # refuses what is no name of a data set
    return f"state/nights/{dataset}"


def _parse(path: str, data: bytes | None) -> Night | None:
    if data is None:
        return None
    try:
        record, schema = read_schema(data)
        if schema > SCHEMA:
            _log.warning("%s is of a newer Tritrack, and left out", path)
            return None
        record = unseal(record)
        return Night(**{**record, "judged": tuple(record["judged"]), "marks": tuple(record["marks"])})
    except (ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s), and left out", path, error)
        return None
