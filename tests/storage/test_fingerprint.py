"""Fingerprints: what changes them, what does not, and that every Python gives the same."""

from __future__ import annotations

import ast
import itertools
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from storage.fingerprint import fingerprint, module_digests
from storage.syntax import parse_module

PROJECT = Path(__file__).resolve().parents[2]
ENTRY = "tasks.track.video:track_video"

FILES = {
    "tasks/__init__.py": '"""Tasks."""\n',
    "tasks/track/__init__.py": "",
    "tasks/track/video.py": '''
        """Tracks one video."""
        from __future__ import annotations
        import os
        from typing import TYPE_CHECKING
        import numpy as np
        from storage.tables import table_bytes
        from tasks.track import quality, windows as w
        from tasks.track.config import TrackConfig
        if TYPE_CHECKING:
            from tasks.track import plots
        os.environ.setdefault("THREADS", "1")
        LIMIT = 5
        TABLE = {"a": 1}
        TABLE["b"] = 2

        def track_video(path: str, config: TrackConfig, plot: plots.Plot | None = None, limit=LIMIT) -> list[int]:
            """Track."""
            from .decode import frames as read  # only where it is needed
            found: list[int] = []
            for frame in read(path):
                found.append(w.slide(frame) + TABLE["a"] + quality.score(np.asarray(frame)))
            return table_bytes(found[:limit])

        def unused():
            return quality.unused()

        if __name__ == "__main__":
            unused()
    ''',
    "tasks/track/config.py": "class TrackConfig:\n    patch_px: int = 72\n",
    "tasks/track/plots.py": "class Plot:\n    colour = 'red'\n",
    "tasks/track/decode.py": '''
        def frames(path):
            count = yield from first(path)
            return count

        def first(path, depth=0):
            return frames(path) if depth else first(path, depth + 1)
    ''',
    "tasks/track/windows.py": '''
        import functools
        from tasks.track.config import TrackConfig
        from .deep import *

        @functools.cache
        def slide(frame):
            return Window(frame).area

        class Window:
            side: int = SIDE
            config: TrackConfig = TrackConfig()
            def __init__(self, frame): self.frame = frame
            @property
            def area(self) -> int: return self.side ** 2 + far.STEP
    ''',
    "tasks/track/deep.py": "from tasks.shared import far\nSIDE = 3\nUNUSED = 4\n",
    "tasks/shared/__init__.py": "from .far import STEP as PACE\n",
    "tasks/shared/far.py": "STEP = 1\n",
    "tasks/track/quality.py": '''
        import tasks.shared
        from tasks.track.names import REGISTRY

        def score(x: int) -> float:
            return x * tasks.shared.PACE if x else len(REGISTRY)

        def unused():
            return 1
    ''',
    "tasks/track/names.py": 'REGISTRY = {"klt": "tasks.track.klt", "dis": "tasks.track.dis"}\n',
    "tasks/track/klt.py": "SIZE = 21\ndef follow(points):\n    return [p + SIZE for p in points]\n",
    "tasks/track/dis.py": "def follow(points):\n    return points\n",
    "storage/__init__.py": "",
    "storage/tables.py": "def table_bytes(rows):\n    return rows\n",
}  # fmt: skip

Edit = Callable[[str, str, str], str]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return tmp_path


def digests(tree: Path, *entries: str) -> dict[str, str]:
    return module_digests(*(entries or (ENTRY, "tasks.track.klt")), folder=tree)


def edit(tree: Path, name: str, old: str, new: str) -> None:
    path = tree / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_reached_modules_are_named(tree: Path) -> None:
    assert set(digests(tree)) == {
        "tasks.track.video", "tasks.track.decode", "tasks.track.windows", "tasks.track.deep", "tasks.shared",
        "tasks.shared.far", "tasks.track.quality", "tasks.track.klt",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("tasks/track/video.py", '    """Track."""\n', '    """Another\n    text."""\n'),
        ("tasks/track/video.py", '"""Tracks one video."""\n', ""),
        ("tasks/track/video.py", "  # only where it is needed", ""),
        ("tasks/track/video.py", "found: list[int] = []", "found = (  # a comment\n        [])"),
        ("tasks/track/video.py", "path: str", "path"),
        ("tasks/track/video.py", "-> list[int]", "-> list[float]"),
        ("tasks/track/video.py", "    found: list[int] = []\n", "    extra: int\n    pass\n    found = []\n"),
        ("tasks/track/video.py", "return quality.unused()", "return 17"),
        ("tasks/track/video.py", "    unused()", "    unused(), unused()"),
        ("tasks/track/video.py", "LIMIT = 5\n", "LIMIT = 0x5\n\ndef another():\n    return LIMIT\n"),
        ("tasks/track/video.py", '"THREADS"', "'THREADS'"),
        ("tasks/track/quality.py", "return 1", "return 2"),
        ("tasks/track/deep.py", "UNUSED = 4", "UNUSED = 5"),
        ("tasks/track/config.py", "72", "80"),  # a value enters the key itself
        ("tasks/track/names.py", "}", ', "raft": "tasks.track.raft"}'),  # a new variant redoes no other
        ("tasks/track/plots.py", "red", "blue"),
        ("tasks/track/dis.py", "return points", "return points[::2]"),
        ("storage/tables.py", "return rows", "return list(rows)"),
    ],
)
def test_what_does_not_change_a_fingerprint(tree: Path, name: str, old: str, new: str) -> None:
    before = digests(tree)
    edit(tree, name, old, new)
    assert digests(tree) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "module"),
    [
        ("tasks/track/video.py", "LIMIT = 5", "LIMIT = 6", "tasks.track.video"),  # through a default argument
        ("tasks/track/video.py", '"a": 1', '"a": 3', "tasks.track.video"),
        ("tasks/track/video.py", 'TABLE["b"] = 2', 'TABLE["b"] = 3', "tasks.track.video"),
        ("tasks/track/video.py", '"THREADS", "1"', '"THREADS", "2"', "tasks.track.video"),
        ("tasks/track/video.py", "import numpy as np", "import cupy as np", "tasks.track.video"),
        ("tasks/track/video.py", "storage.tables import", "storage.other import", "tasks.track.video"),
        ("tasks/track/decode.py", "depth + 1", "depth + 2", "tasks.track.decode"),  # by a function-level import
        ("tasks/track/windows.py", "functools.cache", "functools.lru_cache", "tasks.track.windows"),
        ("tasks/track/windows.py", "side: int", "side: float", "tasks.track.windows"),  # dataclasses read these
        ("tasks/track/windows.py", "** 2", "** 3", "tasks.track.windows"),
        ("tasks/track/deep.py", "SIDE = 3", "SIDE = 4", "tasks.track.deep"),  # by a star import
        ("tasks/shared/far.py", "STEP = 1", "STEP = 2", "tasks.shared.far"),  # three imports away
        ("tasks/shared/far.py", "STEP = 1", "STEP = True", "tasks.shared.far"),
        ("tasks/shared/far.py", "STEP = 1", "STEP = 1.0", "tasks.shared.far"),
        ("tasks/track/klt.py", "SIZE = 21", "SIZE = 15", "tasks.track.klt"),
        ("tasks/track/klt.py", "SIZE = 21", "SIZE = 21\nNEW = 1", "tasks.track.klt"),  # a whole module
        ("tasks/shared/__init__.py", "from .far", "import this\nthis.s.lower()\nfrom .far", "tasks.shared"),
    ],
)  # fmt: skip
def test_what_changes_a_fingerprint_and_in_which_module(tree: Path, name: str, old: str, new: str, module: str) -> None:
    before = digests(tree)
    edit(tree, name, old, new)
    after = digests(tree)
    assert {each for each in before | after if before.get(each) != after.get(each)} == {module}


def test_only_the_selected_variant_counts(tree: Path) -> None:
    klt, dis = digests(tree, ENTRY, "tasks.track.klt"), digests(tree, ENTRY, "tasks.track.dis")
    edit(tree, "tasks/track/dis.py", "return points", "return points[1:]")
    assert digests(tree, ENTRY, "tasks.track.klt") == klt
    assert digests(tree, ENTRY, "tasks.track.dis") != dis


def test_a_fingerprint_is_a_digest_a_module_and_kept_for_the_process(tree: Path) -> None:
    first = fingerprint(ENTRY, folder=tree)
    assert {"tasks.track.video", "tasks.shared.far"} <= set(first)
    assert all(len(digest) == 16 and int(digest, 16) for digest in first.values())
    edit(tree, "tasks/shared/far.py", "1", "2")
    assert fingerprint(ENTRY, folder=tree) == first  # as the code that this process has imported
    assert fingerprint(ENTRY, "tasks.track.klt", folder=tree) == fingerprint("tasks.track.klt", ENTRY, folder=tree)


def test_a_parser_that_trips_over_another_thread_is_asked_again(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, parse, calls = digests(tree), ast.parse, itertools.count()

    def trip(source: bytes, filename: str) -> ast.Module:
        if next(calls) % 3:
            raise SystemError("AST constructor recursion depth mismatch (before=81, after=79)")
        return parse(source, filename)

    parse_module.cache_clear()
    monkeypatch.setattr(ast, "parse", trip)
    assert digests(tree) == expected
    assert next(calls) > 3


def test_a_function_that_is_only_imported_can_be_an_entry(tree: Path) -> None:
    assert set(digests(tree, "tasks.shared:PACE")) == {"tasks.shared", "tasks.shared.far"}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("tasks.track.absent", "names no module"),
        ("tasks.track.video:absent", "names no definition of tasks.track.video"),
        ("tasks.track.broken:work", "tasks.gone is imported but has no source"),
    ],
)
def test_an_entry_without_source_is_refused(tree: Path, entry: str, words: str) -> None:
    (tree / "tasks/track/broken.py").write_text("from tasks.gone import help\ndef work():\n    return help()\n")
    with pytest.raises(ValueError, match=words):
        digests(tree, entry)


SYNTAX = r'''
from dataclasses import dataclass

@dataclass(frozen=True)
class Record:
    """Words."""
    a: int | None = None
    b: "tuple[str, ...]" = ()

async def work(x, /, y: int = -1, *rest, k=1e-3, **named):
    "docstring"
    text = f"{x!r:>{y}}" f'{y:}' "and" f"{x + 1 = }" rf"\d{x['a']}{{}}"
    raw = u"unicode \u00e9 \U0001F600" "\x00" + b"\xff".hex() + 'it''s'
    big, imaginary, dots = 0xFFFF_FFFF_FFFF, 3.5j, ...
    match x:
        case {"k": [1, *others], **more} if others: return more
        case Record(a=0) | None: pass
    try:
        async with x as (p, q), y: yield [i async for i in x if await i]
    except* (OSError, ValueError) as error: raise RuntimeError from error
    else: del p, q
    finally: global COUNT; COUNT = {**named, "z": lambda *a, b=2: (yield)}
    while (n := len(rest)) > 3: rest[1:n:2, ...] = x[*rest]
    return text if not raw else not big

COUNT = 0
'''
SYNTAX_DIGEST = "81841679f1696d68"


def _pythons() -> list[str]:
    """This interpreter, those on the path, and those that pyenv keeps."""
    on_path = [path for version in (11, 12, 13) if (path := shutil.which(f"python3.{version}"))]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return [sys.executable, *on_path, *map(str, pyenv.glob("3.1[123].*/bin/python3"))]


PRINT_FINGERPRINT = """
import sys
from pathlib import Path
from storage.fingerprint import fingerprint
print(sys.version_info[1], fingerprint("tasks.syntax", folder=Path(sys.argv[1]))["tasks.syntax"])
"""


def test_every_python_gives_the_same_fingerprint(tmp_path: Path) -> None:
    """`storage.fingerprint` needs the standard library alone, so a bare interpreter can run it."""
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "syntax.py").write_text(SYNTAX)
    seen = {}
    for python in _pythons():
        command = [python, "-B", "-c", PRINT_FINGERPRINT, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT, check=False)
        if done.returncode == 0 or python == sys.executable:  # a shim without an interpreter behind it fails
            minor, digest = done.stdout.split()
            seen[minor] = digest
    assert set(seen.values()) == {SYNTAX_DIGEST}
