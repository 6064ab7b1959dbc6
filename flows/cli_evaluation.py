"""The commands of `tritrack` that judge several networks: ablate, compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.ablations import AXES
from flows.options import NETWORKS, LogFormatOption, MetricsPortOption, VerboseOption, described

if TYPE_CHECKING:
    from flows.description import Description

NetworksArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="NETWORK...",
        help="Data sets of the root, or folders that tritrack export wrote; the first is the base, and 'label=a,b,c' "
        "names several seeds of one training.",
        show_default=False,
    ),
]

evaluation_commands = typer.Typer()
_console = Console()


@evaluation_commands.command(rich_help_panel=NETWORKS)
@described("retry")
def ablate(
    description: Description,
    axes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[AXIS]...", help=f"{', '.join(AXES)}.  [default: gap tracking noise]", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each cell.")] = 1,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """Change one thing at a time (gap, tracking, noise, loss, ...), train and judge again, and compare all with the run
    as it is."""
    from flows import running

    running.run_ablation(description, _console, axes=axes or ["gap", "tracking", "noise"], seeds=seeds, verbose=verbose)


@evaluation_commands.command(rich_help_panel=NETWORKS)
@described("sources", "retry")
def compare(
    description: Description,
    networks: NetworksArgument,
    devkits: Annotated[
        list[Path] | None,
        typer.Option("--voc", help="A VOC devkit folder instead of evaluate.voc; may be repeated: a table each."),
    ] = None,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """Judge networks on outside data (evaluate.voc, ...), each and in ensembles, and put them in one table."""
    from flows import running

    running.run_comparison(description, _console, networks=networks, devkits=devkits or [], verbose=verbose)
