"""`tritrack voc-folder`: the boxes of a VOC devkit as a folder of labelled images, for train.images."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flows.maintain import dump, progress_bar
from tasks.train.voc import cut_boxes


def cut_folder(devkit: Path, out: Path, console: Console, *, split: str, difficult: bool, as_json: bool) -> None:
    """Write the folder whole or not at all, and tell the crops of each class.

    Raises ValueError, in one line, where the devkit is none, holds no box, or `out` holds something.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"out: {str(out)!r} exists and is no empty folder; give a new one")
    if not out.parent.is_dir():
        raise ValueError(f"out: folder {str(out.parent)!r} does not exist; make it first")
    with tempfile.TemporaryDirectory(prefix=".tritrack-voc-", dir=out.parent) as folder:
        made = Path(folder) / out.name
        made.mkdir()
        with progress_bar("cutting") as progress:
            kept, left_out = cut_boxes(devkit, split, made, difficult=difficult, progress=progress)
        if not kept:
            raise ValueError(f"voc: split {split!r} of {str(devkit)!r} holds no box to cut")
        if out.exists():
            out.rmdir()
        shutil.move(made, out)
    if as_json:
        dump({"folder": str(out), "classes": dict(sorted(kept.items())), "left_out": dict(sorted(left_out.items()))})
        return
    table = Table("class", "images", title=escape(str(out)), title_justify="left")
    for name, number in sorted(kept.items()):
        table.add_row(name, f"{number:,}")
    console.print(table)
    told = ", ".join(f"{number:,} {why}" for why, number in sorted(left_out.items()))
    console.print(
        f"{kept.total():,} images of {len(kept)} classes{f'; left out: {told}' if told else ''}", soft_wrap=True
    )
