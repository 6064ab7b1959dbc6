"""`tritrack embed`: features of any image files as a Parquet table, by a data set's network or an exported one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from flows.description import describe_run
from flows.export import Origin, trained_network
from flows.maintain import dump, progress_bar
from tasks.device import resolve_device
from tasks.networks.encoder import Encoder, Layer
from tasks.networks.exported import load_exported
from tasks.networks.features import FeatureTable, embed_files
from tasks.networks.pictures import find_images

_SHOWN = 20
_PARQUET = b"PAR1"  # the first bytes of every Parquet file


def embed(
    images: Sequence[Path],
    out: Path,
    console: Console,
    *,
    network: Path | None,
    root: str | None,
    dataset: str | None,
    layer: Layer,
    device: str,
    max_pixels: int,
    as_json: bool,
) -> bool:
    """Write one row an image to `out`, and tell what could not be read; returns whether anything could.

    The network is that of an exported folder (`network`), or else the newest of a data set. Raises ValueError or
    RootError, in one line and before an image is read, for what is missing.
    """
    _refuse(out)
    if network is not None and dataset is not None:
        raise ValueError("network: give an exported folder or --dataset, not both")
    placed = resolve_device(device)
    paths = find_images(images)
    encoder, origin = _encoder(network, root, dataset, layer)
    facts = {**origin, "layer": layer, "input_px": encoder.input_px}
    with progress_bar("embedding") as progress, FeatureTable(out, encoder.width, facts) as table:
        unreadable = embed_files(paths, encoder, placed, table, max_pixels=max_pixels, progress=progress)
    number = len(paths) - len(unreadable)
    if as_json:
        named = [{"path": _printable(path), "reason": reason} for path, reason in unreadable.items()]
        file = str(out) if number else None
        dump({"file": file, "images": number, "width": encoder.width, "layer": layer, "unreadable": named})
        return number > 0
    for path, reason in list(unreadable.items())[:_SHOWN]:
        console.print(f"[yellow]unreadable[/] {escape(_printable(path))}: {escape(reason)}", soft_wrap=True)
    if len(unreadable) > _SHOWN:
        console.print(f"... and {len(unreadable) - _SHOWN} more; --json lists all")
    if not number:
        console.print(f"None of {len(paths)} images could be read; nothing was written.")
        return False
    left_out = f"; {len(unreadable)} unreadable left out" if unreadable else ""
    features = f"{number:,} images, {layer} of {encoder.name}, {encoder.width} numbers each"
    console.print(f"{escape(str(out))}: {features}{left_out}", soft_wrap=True, highlight=False)
    return True


def _encoder(network: Path | None, root: str | None, dataset: str | None, layer: Layer) -> tuple[Encoder, Origin]:
    """The encoder, and what the table's metadata says of it."""
    if network is not None:
        exported = load_exported(network, layer)
        return exported, {"network": exported.name, "folder": str(network)}
    where = describe_run(root=root, dataset=dataset)
    trained, spec, origin = trained_network(where.root, where.dataset)
    encoder = Encoder(trained, spec, layer)
    return encoder, {"network": encoder.name, **origin}


def _refuse(out: Path) -> None:
    if out.is_dir():
        raise ValueError(f"out: {str(out)!r} is a folder; give a file such as {str(out / 'features.parquet')!r}")
    if out.exists():
        with out.open("rb") as file:
            if file.read(len(_PARQUET)) != _PARQUET:
                raise ValueError(f"out: {str(out)!r} exists and is no Parquet file; give another name")
    if not out.parent.is_dir():
        raise ValueError(f"out: folder {str(out.parent)!r} does not exist; make it first")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out: folder {str(out.parent)!r} cannot be written to")


def _printable(path: str) -> str:
    """A path without control characters, and with those bytes spelt out that are no UTF-8."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in path)
