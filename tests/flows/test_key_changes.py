"""Which keys an edit of this project's own sources changes: that of the stage that runs them and those after it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

_PROJECT = Path(__file__).resolve().parents[2]
_ALL = ("download", "track", "shard", "triplets", "train", "classification", "retrieval", "report")
_AFTER_TRACK = set(_ALL[1:])
_AFTER_SHARD = set(_ALL[2:])
_AFTER_TRAIN = set(_ALL[4:])

_PRINT_KEYS = """
import json
from importlib import metadata
real = metadata.version
metadata.version = lambda name: "9999.1.1" if name == "yt-dlp" and {newer_ytdlp} else real(name)
from tasks.download import key as download
from tasks.download.sources import source_at
from tasks.evaluate import key as evaluate
from tasks.evaluate.inputs import Inputs
from tasks.presets import sample
from tasks.shard import key as shard
from tasks.track import key as track
from tasks.train import key as train
config = sample()
klt = config.track.model_copy(update={{"estimator": "klt"}})
keys = {{"download": download.key_document(config.download, source_at("https://a.example/1")).key}}
keys["track"] = track.key_document(klt, "0" * 64).key
keys["shard"] = shard.shard_document(config.shard, "train", [keys["track"]]).key
keys["triplets"] = shard.triplets_document(0, [keys["shard"]], {{}}).key
keys["train"] = train.key_document(config.train, 0, keys["triplets"]).key
for name in ("classification", "retrieval"):
    inputs = Inputs(keys["train"], triplets=keys["triplets"], architecture=config.train.network)
    document = evaluate.key_document(name, config.evaluate, 0, inputs, {{"labels": "labels"}})
    keys[name] = document.key
scores = {{name: keys[name] for name in ("classification", "retrieval")}}
keys["report"] = evaluate.report_document(0, keys["train"], keys["triplets"], scores, [keys["track"]]).key
print(json.dumps(keys))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, to edit."""
    folder = tmp_path_factory.mktemp("tree")
    for package in ("flows", "tasks", "storage"):
        shutil.copytree(_PROJECT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def _keys(tree: Path, newer_ytdlp: bool = False) -> dict[str, str]:
    command = [sys.executable, "-B", "-c", _PRINT_KEYS.format(newer_ytdlp=newer_ytdlp)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tree, env={"PYTHONPATH": str(tree)})
    keys: dict[str, str] = json.loads(done.stdout)
    return keys


@pytest.fixture(scope="module")
def before(tree: Path) -> dict[str, str]:
    return _keys(tree)


def _comment(text: str) -> str:
    return "# About this file.\n" + text.replace("\n\n\n", "\n\n\n# a comment\n\n", 1)


def _reformat(text: str) -> str:
    return text.replace("(", "( ").replace("\n\n\n", "\n\n\n\n")


def _unused(text: str) -> str:
    return text + "\n\ndef nobody_calls_this(number: int) -> int:\n    return number + 1\n"


def _constant(old: str, new: str) -> Callable[[str], str]:
    def edit(text: str) -> str:
        assert old in text, f"{old!r} is there to be changed"
        return text.replace(old, new, 1)

    return edit


@pytest.mark.parametrize(
    ("file", "edit", "changed"),
    [
        # Reached by way of video.py and tracker.py: two imports away.
        ("tasks/track/proposals.py", _constant("_STRIDE_PX = 4", "_STRIDE_PX = 5"), _AFTER_TRACK),
        ("tasks/track/gates.py", _comment, set()),
        ("tasks/track/gates.py", _reformat, set()),
        ("tasks/track/gates.py", _unused, set()),
        ("tasks/track/estimators/klt.py", _constant("maxLevel=NUM_HALVINGS", "maxLevel=4"), _AFTER_TRACK),
        ("tasks/track/estimators/farneback.py", lambda text: text.replace("return ", "return 1 * ", 1), set()),
        ("tasks/track/config.py", lambda text: text.replace("How points or boxes", "The way points or boxes"), set()),
        ("tasks/shard/split.py", _constant("[:8]", "[:7]"), set()),  # enters by its outcome, the groups
        ("tasks/shard/pack.py", _constant("= time.monotonic()", "= 1 + time.monotonic()"), _AFTER_SHARD),
        ("tasks/train/augment.py", _constant("_JITTER = 0.4", "_JITTER = 0.3"), _AFTER_TRAIN),
        ("tasks/train/objectives/ranking.py", _constant("clamp_min(0)", "clamp_min(1e-3)"), _AFTER_TRAIN),
        ("tasks/train/objectives/context.py", _constant("_HIDDEN = 256", "_HIDDEN = 128"), set()),
        ("tasks/train/objectives/infonce.py", _constant("dim=1", "dim=0"), set()),
        ("tasks/train/monitor.py", _constant("_COLLAPSED_GAP = 0.05", "_COLLAPSED_GAP = 0.04"), _AFTER_TRAIN),
        ("tasks/networks/plain.py", _constant("_GROUPS = 8", "_GROUPS = 4"), _AFTER_TRAIN),
        ("tasks/networks/caffenet.py", lambda text: text.replace("4096", "4095"), set()),
        ("tasks/evaluate/retrieval.py", _constant("(1, 5, 10)", "(1, 5)"), {"retrieval", "report"}),
        ("tasks/bootstrap.py", _constant("0.95", "0.9"), {"classification", "retrieval", "report"}),
        ("tasks/download/ytdlp.py", _constant("_MAX_PAUSE_SECONDS = 30", "_MAX_PAUSE_SECONDS = 3"), set()),
        ("flows/stage.py", _constant("_SHOWN_CACHED = 200", "_SHOWN_CACHED = 20"), set()),
        ("storage/root.py", _comment, set()),
    ],
)  # fmt: skip
def test_what_an_edit_changes(
    tree: Path, before: dict[str, str], file: str, edit: Callable[[str], str], changed: set[str]
) -> None:
    path = tree / file
    text = path.read_text()
    try:
        path.write_text(edit(text))
        assert path.read_text() != text, "something was edited"
        after = _keys(tree)
    finally:
        path.write_text(text)
    assert {name for name in _ALL if after[name] != before[name]} == changed


def test_a_newer_ytdlp_changes_no_key(tree: Path, before: dict[str, str]) -> None:
    assert _keys(tree, newer_ytdlp=True) == before
