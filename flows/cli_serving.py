"""`tritrack deploy`, `worker`, `serve` and `server`: what the Prefect UI shows, and who runs what it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.options import (
    SERVE,
    ChildMetricsPortOption,
    LogFormatOption,
    NightlyOption,
    NotifyOption,
    StageLimitOption,
    TimezoneOption,
    described,
)

if TYPE_CHECKING:
    from flows.description import Description

serving_commands = typer.Typer()
_console = Console()


@serving_commands.command(rich_help_panel=SERVE)
@described("retry")
def deploy(
    description: Description,
    nightly: NightlyOption = None,
    timezone: TimezoneOption = "UTC",
    notify: NotifyOption = None,
    limit: StageLimitOption = None,
    pool_type: Annotated[
        str, typer.Option(help="Type of work pools that are not there yet: process, kubernetes, ...")
    ] = "process",
) -> None:
    """Register work pools, deployments, limits and automations with a Prefect server. Safe to repeat."""
    from flows import deploy as deploying

    serving = deploying.Serving(nightly, timezone, notify, pool_type, tuple(limit or ()))
    deploying.deploy(description, serving, _console)


@serving_commands.command(rich_help_panel=SERVE)
def worker(
    stages: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE]...", help="pipeline, download, track, shard, train, evaluate; none: all."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Flow runs of a stage at once on this machine.")] = None,
    log_format: LogFormatOption = "text",
    metrics_port: ChildMetricsPortOption = None,
) -> None:
    """Run what the Prefect server schedules for these stages, on this machine, until interrupted."""
    from flows import worker as working

    working.run_workers(stages or (), limit)


@serving_commands.command(rich_help_panel=SERVE)
@described("retry")
def serve(
    description: Description,
    nightly: NightlyOption = None,
    timezone: TimezoneOption = "UTC",
    notify: NotifyOption = None,
    limit: StageLimitOption = None,
    log_format: LogFormatOption = "text",
    metrics_port: ChildMetricsPortOption = None,
) -> None:
    """`deploy` and `worker` in one, for one machine: register with a Prefect server, and run what its UI starts."""
    from flows import deploy as deploying
    from flows import worker as working

    deploying.deploy(description, deploying.Serving(nightly, timezone, notify, limits=tuple(limit or ())), _console)
    working.run_workers((), None)


@serving_commands.command(rich_help_panel=SERVE)
def server(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback, set a password.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the UI and the API.")] = 4200,
) -> None:
    """Start a Prefect server with what a nightly schedule needs: old runs are removed, nothing is sent out."""
    from flows import server as serving

    serving.run_server(host, port)
