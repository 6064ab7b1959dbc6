"""`tritrack ledger` and `tritrack plan`: what runs cost, and what one would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.options import LOOK, JsonOption, RootOption, described

if TYPE_CHECKING:
    from flows.description import Description

cost_commands = typer.Typer()
_console = Console()


@cost_commands.command(rich_help_panel=LOOK)
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
    from flows.description import describe_run

    url = describe_run(root=root).root
    if runs and len(runs) != 2:
        raise ValueError(f"ledger: {len(runs)} run named; name two to compare, or none with --compare")
    if runs or compare:
        costs.show_comparison(url, runs or (), _console, as_json=as_json)
    else:
        costs.show_ledger(url, _console, limit=limit, as_json=as_json)


@cost_commands.command(rich_help_panel=LOOK)
@described("sources", "retry")
def plan(
    description: Description,
    videos: Annotated[int, typer.Option(min=1, help="Videos to plan for.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes, a core each.  [default: execution.workers]")
    ] = None,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs that share what was measured on one.")] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Minutes a video.  [default: as tracked in this root]")
    ] = None,
    price_cpu_hour: Annotated[float, typer.Option(min=0, help="Price of a core for an hour.")] = 0.0,
    price_gpu_hour: Annotated[float, typer.Option(min=0, help="Price of a GPU for an hour.")] = 0.0,
    price_gb_month: Annotated[float, typer.Option(min=0, help="Price of a stored GB for a month.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """What a run over so many videos would take: hours, bytes, requests and cost, by what this root has measured."""
    from flows import forecast

    asked = forecast.Asked(
        videos,
        workers or description.config.execution.workers,
        gpus,
        minutes,
        price_cpu_hour,
        price_gpu_hour,
        price_gb_month,
    )
    forecast.show_forecast(description, asked, _console, as_json=as_json)
