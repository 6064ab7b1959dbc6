"""`tritrack ledger` and `tritrack plan`: what runs cost, and what one would."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from flows.description import describe_run
from flows.options import JsonOption, RootOption

cost_commands = typer.Typer()
_console = Console()


@cost_commands.command()
def ledger(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN RUN]",
            help="First digits of two ids: of the ledger, of a stage's flow run, or of a pipeline's.",
            show_default=False,
        ),
    ] = None,
    root: RootOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the last two runs of each stage, where no runs are named.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show so many runs, the newest.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """What each stage's run cost: units, seconds, bytes, memory; or two runs side by side."""
    from flows import costs

    url = describe_run(root=root).root
    if runs and len(runs) != 2:
        raise ValueError(f"ledger: {len(runs)} run named; name two to compare, or none with --compare")
    if runs or compare:
        costs.show_comparison(url, runs or (), _console, as_json=as_json)
    else:
        costs.show_ledger(url, _console, limit=limit, as_json=as_json)
