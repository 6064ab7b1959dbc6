"""Logs as JSON: one object a line, whatever is logged, in this process and in the pool's."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import datetime
from io import StringIO

import pytest

from tasks.logs import JsonLines, json_handler, wants_json


@pytest.fixture
def lines() -> tuple[logging.Logger, StringIO]:
    """A logger that writes JSON into a buffer."""
    stream, handler = StringIO(), json_handler()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    logger = logging.Logger("tasks.anything")
    logger.addHandler(handler)
    return logger, stream


def test_a_record_is_one_line(lines: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = lines
    logger.warning("two\nlines of %s", "“words”")
    logger.info("%d of %d", 3, 4)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("WARNING", "tasks.anything", "two\nlines of “words”")
    assert second["message"] == "3 of 4"
    assert datetime.fromisoformat(first["time"]).tzinfo is not None
    assert first["process"] > 0


def test_an_error_brings_its_trace(lines: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = lines
    try:
        raise ZeroDivisionError("by hand")
    except ZeroDivisionError:
        logger.exception("it failed")
    (told,) = map(json.loads, stream.getvalue().splitlines())
    assert told["exc_info"].endswith("ZeroDivisionError: by hand")


def test_what_cannot_be_written_as_json_is_written_as_text(lines: tuple[logging.Logger, StringIO]) -> None:
    logger, stream = lines
    logger.info("%s", object)
    logger.info({"a": object})
    assert [json.loads(line)["level"] for line in stream.getvalue().splitlines()] == ["INFO", "INFO"]


def test_only_formats_that_there_are_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITRACK_LOG", raising=False)
    assert not wants_json()
    for value, expected in (("", False), ("text", False), ("json", True)):
        monkeypatch.setenv("TRITRACK_LOG", value)
        assert wants_json() is expected
    monkeypatch.setenv("TRITRACK_LOG", "xml")
    with pytest.raises(ValueError, match="TRITRACK_LOG: 'xml' is unknown; choose text or json"):
        wants_json()


_POOL = """
import logging, os, sys
from tasks.logs import json_handler
from tasks.pool import Call, WorkerPool
for name in ("tasks", "storage"):
    logging.getLogger(name).addHandler(json_handler())
    logging.getLogger(name).setLevel(logging.INFO)
with WorkerPool(1) as pool:
    list(pool.run([Call("tests.workers:double", (4,)), Call("tests.workers:warn_elsewhere", ("a codec's words",))]))
print(os.getpid())
"""


def test_what_a_pool_s_process_logs_is_json_with_its_own_time_and_process() -> None:
    environment = {"TRITRACK_LOG": "json", "PYTHONPATH": "."}
    done = subprocess.run([sys.executable, "-c", _POOL], env=environment, capture_output=True, text=True, check=True)
    told = {line["logger"]: line for line in map(json.loads, done.stderr.splitlines())}
    assert told["tasks.workers"]["message"] == "doubled 4"
    assert told["tasks.workers"]["process"] != int(done.stdout)
    assert told["a.codec"]["message"] == "a codec's words"


def test_the_formatter_takes_what_a_subclass_knows_of_the_run() -> None:
    class InRun(JsonLines):
        def where_it_runs(self, record: logging.LogRecord) -> dict[str, str]:
            return {"stage": record.name}

    record = logging.LogRecord("track", logging.INFO, "", 0, "words", (), None)
    assert json.loads(InRun().format(record))["stage"] == "track"
