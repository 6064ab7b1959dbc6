"""The commands of `tritrack` that judge several networks: ablate."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from flows.ablations import AXES
from flows.description import Description
from flows.options import VerboseOption, described

evaluation_commands = typer.Typer()
_console = Console()


@evaluation_commands.command()
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
) -> None:
    """Change one thing at a time (gap, tracking, noise, loss, ...), train and judge again, and compare all with the run
    as it is."""
    from flows import running

    running.run_ablation(description, _console, axes=axes or ["gap", "tracking", "noise"], seeds=seeds, verbose=verbose)
