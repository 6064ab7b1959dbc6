"""What the parent tells its ranks, and what they tell it: one job in the environment, JSON lines on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from storage.keys import JSON, KeyDocument, document_from_json
from tasks.train.config import TrainConfig

# Not an argument: other users can read a process's arguments, and a root's URL may hold a password.
JOB_VARIABLE = "TRITRACK_TRAIN_JOB"
EXIT_DROPPED, EXIT_LOST, EXIT_STOPPED = 3, 75, 143

Device = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Job:
    """One attempt at a train unit. `threads` are those of each rank; `cache` the folder that keeps remote shards."""

    root: str
    triplets: str
    config: TrainConfig
    document: KeyDocument
    device: Device
    threads: int
    attempt: str
    cache: str
    seen: Mapping[str, JSON]

    def to_json(self) -> str:
        parts = {"config": self.config.model_dump(mode="json"), "document": self.document.to_json()}
        return json.dumps({name: getattr(self, name) for name in self.__dataclass_fields__} | parts)


def read_job() -> Job:
    """The job that the parent put into the environment."""
    record = json.loads(os.environ[JOB_VARIABLE])
    record["config"] = TrainConfig(**record["config"])
    record["document"] = document_from_json(record["document"])
    return Job(**record)


def tell(event: str, **fields: JSON) -> None:
    """One JSON line to the parent; event is progress, log, dropped, stopped, lost, failed or ended."""
    # One write a line: ranks share the pipe, and short writes to a pipe are never mixed.
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def parse_line(line: str) -> dict[str, JSON] | None:
    """What a rank told, or None for a line of anybody else."""
    if not line.startswith('{"event"'):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class TellHandler(logging.Handler):
    """Sends a rank's log records to the parent, which logs them as its own."""

    def emit(self, record: logging.LogRecord) -> None:
        tell("log", level=record.levelno, name=record.name, message=self.format(record))
