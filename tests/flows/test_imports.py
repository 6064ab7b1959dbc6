"""What commands that only look may not import: they answer at once because of it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flows.estimator import with_estimator
from storage.root import open_root
from storage.versions import Version, update_version
from tasks.presets import sample
from tests.flows.imagined import imagined_run, imagined_sources

HEAVY = ("prefect", "torch", "cv2", "ray", "sklearn", "scipy", "matplotlib", "pandas", "yt_dlp")
NEVER_FOR_HELP = (*HEAVY, "numpy", "pyarrow", "fsspec")
_PROGRAM = """
import sys
from flows.cli import app
try:
    app(sys.argv[2:])
finally:
    sys.stderr.write("imported: " + ",".join(name for name in sys.argv[1].split(",") if name in sys.modules))
"""


def _imported(names: tuple[str, ...], *arguments: str) -> str:
    command = [sys.executable, "-c", _PROGRAM, ",".join(names), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout
    return done.stderr.split("imported: ")[1]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A root with a data set whose every unit is committed, as far as its version says."""
    root = open_root(str(tmp_path_factory.mktemp("imports")))
    config = with_estimator(root, "clips", sample())
    version, _ = imagined_run(Version("clips"), imagined_sources(*range(3)), config)
    update_version(root, "clips", lambda _: version)
    return root.url


@pytest.mark.parametrize("command", [[], ["run"], ["ledger"]])
def test_help_imports_no_library_of_the_work(command: list[str]) -> None:
    assert _imported(NEVER_FOR_HELP, *command, "--help") == ""


@pytest.mark.parametrize("command", ["status", "explain", "ledger"])
def test_looking_imports_neither_prefect_nor_anything_heavy(command: str, place: str) -> None:
    dataset = [] if command == "ledger" else ["--dataset", "clips"]
    assert _imported(HEAVY, command, "--root", place, *dataset) == ""


def test_a_run_with_nothing_to_do_imports_no_prefect(place: str) -> None:
    assert _imported(HEAVY, "run", "--root", place, "--dataset", "clips") == ""
