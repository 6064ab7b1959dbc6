"""`tritrack networks` and `tritrack export`: how large networks are, and a trained one as files to take away."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from flows.maintain import dump, unknown_dataset
from storage.manifests import require_manifest
from storage.root import RootError, open_root
from storage.versions import read_head, version_numbers
from tasks.networks import NETWORKS
from tasks.networks.encoder import LAYERS, Encoder
from tasks.networks.exported import exported_files, is_export
from tasks.networks.network import Network
from tasks.networks.onnx_files import onnx_file, require_onnx
from tasks.networks.sizes import network_size
from tasks.networks.weights import DESCRIPTION, NetworkSpec, load_network

_ONNX_FILES = {layer: f"{layer}.onnx" for layer in LAYERS}

Origin = Mapping[str, str | int]


def show_networks(console: Console, *, embedding: int, input_px: int | None, as_json: bool) -> None:
    """A row a network: its parameters by part, its features, and what one image costs."""
    sizes = [network_size(name, embedding, input_px) for name in NETWORKS]
    if as_json:
        dump([asdict(size) for size in sizes])
        return
    numbers = ("input px", "features", "backbone", "head", "multiply-adds")
    table = Table("network", *(Column(name, justify="right") for name in numbers))
    for size in sizes:
        counts = (size.input_px, size.feature_width, size.backbone_parameters, size.head_parameters)
        table.add_row(size.name, *(f"{number:,}" for number in counts), f"{size.multiply_adds / 1e6:,.0f} M")
    table.caption = f"parameters of backbone and head, for an embedding {embedding} wide; multiply-adds of one image"
    console.print(table)


def run_export(url: str, dataset: str, folder: Path, console: Console, *, onnx: bool, as_json: bool) -> None:
    """Write the newest trained network of a data set into a folder, whole or not at all.

    Raises RootError where there is none, ValueError where the folder holds something else, or where ONNX was asked
    for and cannot be made.
    """
    _refuse(folder)
    if onnx:
        require_onnx()
    network, spec, origin = trained_network(url, dataset)
    files = exported_files(network, spec, origin)
    differences: dict[str, float] = {}
    if onnx:
        for layer, name in _ONNX_FILES.items():
            made = onnx_file(Encoder(network, spec, layer))
            files[name], differences[name] = made.data, made.difference
    _write(folder, files)
    if as_json:
        dump({"folder": str(folder), "files": sorted(files), "network": spec.name, "difference": differences})
        return
    console.print(
        f"{spec.name}, trained by {origin['dataset']} version {origin['version']} at {spec.input_px} px, "
        f"{network.feature_width} features, embedding {spec.embedding}",
        soft_wrap=True,
    )
    for name in sorted(files):
        checked = f"   largest difference to torch {differences[name]:.1e}" if name in differences else ""
        console.print(f"{escape(str(folder / name))}{checked}", soft_wrap=True, highlight=False)


def trained_network(url: str, dataset: str) -> tuple[Network, NetworkSpec, Origin]:
    """The newest trained network of a data set and where it comes from.

    Raises RootError, in one line, where there is no such data set or no network in it yet.
    """
    root = open_root(url, create=False)
    numbers = version_numbers(root, dataset)
    if not numbers:
        raise unknown_dataset(root, dataset)
    unit = read_head(root, dataset, numbers[-1]).units.get("train")
    if unit is None:
        raise RootError(f"dataset: {dataset!r} in {root.url} has no trained network yet; run tritrack train")
    network, spec = load_network(root, require_manifest(root, "train", unit.key))
    return network, spec, {"dataset": dataset, "version": numbers[-1], "train": unit.key}


def _refuse(folder: Path) -> None:
    """Raises ValueError for a folder that an export must not go to."""
    if "://" in str(folder) or ":/" in str(folder):  # a Path drops the second slash
        raise ValueError(f"folder: {str(folder)!r} is a URL; give a local folder, and copy it from there")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: {str(folder)!r} is a file; give a folder that is new, empty, or holds an export")
    if folder.is_dir() and any(folder.iterdir()) and not is_export(folder):
        raise ValueError(
            f"folder: {str(folder)!r} is not empty and holds no earlier export; give a new folder, or empty it"
        )


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """The files first beside the folder, then into it; an earlier export's go, and other files stay.

    network.json is moved last, and an earlier one removed first: without it no folder passes for an export.
    """
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise ValueError(f"folder: {str(folder)!r} cannot be made ({os.strerror(error.errno or 0)})") from error
    try:
        for name, data in files.items():
            (beside / name).write_bytes(data)
        folder.mkdir(exist_ok=True)
        for name in (DESCRIPTION, *_ONNX_FILES.values()):
            (folder / name).unlink(missing_ok=True)
        for name in sorted(files, key=lambda name: name == DESCRIPTION):
            os.replace(beside / name, folder / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
