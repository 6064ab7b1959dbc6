"""`flows.garbage`: an event loop's thread that never waits for the lock of an SQLite connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The last moments before a Prefect server hangs: `writer` may write, `waiting` waits for that in a thread, and a
# cursor of `waiting` is garbage, in a cycle as an error's traceback leaves it. Prints how the wait ended.
_MODULE = """
import gc, sqlite3, sys, threading, time

def connect():
    return sqlite3.connect(sys.argv[1], isolation_level=None, timeout=float(sys.argv[2]), check_same_thread=False)

writer, waiting = connect(), connect()
writer.executescript("PRAGMA journal_mode = WAL; CREATE TABLE t (x);")
cursor = waiting.execute("VALUES (1), (2)")
cursor.fetchone()
cycle = [cursor]
cycle.append(cycle)
writer.execute("BEGIN IMMEDIATE")
del cursor, cycle

def wait():
    try:
        waiting.execute("INSERT INTO t VALUES (3)")
        print("written")
    except sqlite3.OperationalError as error:
        print(error)

thread = threading.Thread(target=wait)
thread.start()
time.sleep(0.2)
lists = [[] for _ in range(100_000)]  # so many that the collector runs, where it runs in this thread
if not gc.isenabled():
    time.sleep(1.5)  # it runs in the other one
writer.execute("COMMIT")
thread.join()
"""


@pytest.mark.parametrize(("apart", "patience", "told"), [(True, "60", "written"), (False, "1", "database is locked")])
def test_who_may_write_does_not_wait_for_who_waits(apart: bool, patience: str, told: str, tmp_path: Path) -> None:
    """Without it Python hangs, whatever the patience: the day it does not, `flows.garbage` can go."""
    (tmp_path / "moments.py").write_text(_MODULE)
    runner = ["flows.garbage"] if apart else []
    command = [sys.executable, "-m", *runner, "moments", str(tmp_path / "a.db"), patience]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert (done.stdout.strip(), done.returncode) == (told, 0), done.stderr
