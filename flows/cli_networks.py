"""The commands of `tritrack` about networks and images, which take no run: networks, export, embed, voc-folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from flows.options import NETWORKS, DatasetOption, JsonOption, RootOption
from tasks.networks import MAX_PIXELS

network_commands = typer.Typer()
_console = Console()


@network_commands.command(rich_help_panel=NETWORKS)
def networks(
    embedding: Annotated[int, typer.Option(min=8, max=4096, help="Width of the embedding.")] = 128,
    input_px: Annotated[
        int | None, typer.Option(min=32, max=512, help="Side of the images.  [default: each network's usual one]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The networks that train.network names: parameters, features, and the multiply-adds of an image."""
    from flows import export as exporting

    exporting.show_networks(_console, embedding=embedding, input_px=input_px, as_json=as_json)


@network_commands.command(rich_help_panel=NETWORKS)
def export(
    folder: Annotated[Path, typer.Argument(help="New, empty, or of an earlier export, which is replaced.")],
    root: RootOption = None,
    dataset: DatasetOption = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="Write backbone.onnx and embedding.onnx too, checked against torch.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the newest trained network into a folder: weights.safetensors and network.json, and ONNX if asked."""
    from flows import export as exporting
    from flows.description import describe_run

    where = describe_run(root=root, dataset=dataset)
    exporting.run_export(where.root, where.dataset, folder, _console, onnx=onnx, as_json=as_json)


@network_commands.command(rich_help_panel=NETWORKS)
def embed(
    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE", help="Image files, and folders of them at any depth.", show_default=False),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The Parquet file to write.", show_default=False)],
    root: RootOption = None,
    dataset: DatasetOption = None,
    network: Annotated[
        Path | None,
        typer.Option(help="A folder that tritrack export wrote, instead of a data set's newest network."),
    ] = None,
    layer: Annotated[
        Literal["backbone", "embedding"],
        typer.Option(help="The features that are handed on to other tasks, or the embedding that was trained."),
    ] = "backbone",
    device: Annotated[
        Literal["auto", "cpu", "cuda", "mps"], typer.Option(help="Where the network runs; auto takes the best present.")
    ] = "auto",
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Larger images are left out, by what their header says.")
    ] = MAX_PIXELS,
    as_json: JsonOption = False,
) -> None:
    """Features of images by a trained network, a row an image: path, width, height, feature.

    The middle square of each image is scaled to the side that the network was trained at. Images that cannot be read
    are named and left out; exit code 1 where none could be.
    """
    from flows import embed as embedding

    if not embedding.embed(
        images,
        out,
        _console,
        network=network,
        root=root,
        dataset=dataset,
        layer=layer,
        device=device,
        max_pixels=max_pixels,
        as_json=as_json,
    ):
        raise typer.Exit(1)


@network_commands.command("voc-folder", rich_help_panel=NETWORKS)
def voc_folder(
    devkit: Annotated[
        Path, typer.Argument(help="Folder with Annotations, ImageSets and JPEGImages, such as VOCdevkit/VOC2007.")
    ],
    out: Annotated[Path, typer.Argument(help="New or empty folder for the images, a subfolder a class.")],
    split: Annotated[
        str, typer.Option(help="Image set whose boxes are cut: train, val, trainval or test.")
    ] = "trainval",
    difficult: Annotated[bool, typer.Option("--difficult", help="Cut difficult boxes too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut the boxes of a PASCAL VOC devkit into a folder of labelled images, which train.images takes."""
    from flows import voc

    voc.cut_folder(devkit, out, _console, split=split, difficult=difficult, as_json=as_json)
