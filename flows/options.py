"""Options that commands share, and the description that those of a run make."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from flows.parameters import StageName

# What the commands are grouped by in `tritrack --help`.
RUN, LOOK, NETWORKS, KEEP, SERVE = "Run", "Look", "Networks", "Keep the store", "Serve the Prefect UI"

Retry = Literal["permanent", "poison", "all"]

RootOption = Annotated[
    str | None,
    typer.Option("--root", "-r", help="Storage root: a folder or s3://bucket/prefix.", envvar="TRITRACK_ROOT"),
]
DatasetOption = Annotated[str | None, typer.Option("--dataset", "-d", help="Name of the data set.  [default: default]")]
SourcesOption = Annotated[
    str | None,
    typer.Option("--sources", "-s", help="A list, a folder, a video file, a URL or a search.", show_default=False),
]
PresetOption = Annotated[
    str | None, typer.Option("--preset", "-p", help="sample (default) or paper.", show_default=False)
]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file that describes the run.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="Override one field, e.g. --set track.estimator=dis. May be repeated.")
]
RetryOption = Annotated[
    Retry | None,
    typer.Option("--retry", help="Try failures of this class again, beside the transient ones.", show_default=False),
]
OnlyOption = Annotated[
    str,
    typer.Option(
        help="A part of the sources: a URL or path, first digits of an id, a range such as 0:100, or 'batch 3'.",
        show_default=False,
    ),
]
NightlyOption = Annotated[str | None, typer.Option(help="Cron line on which `refresh` runs, e.g. '0 3 * * *'.")]
TimezoneOption = Annotated[str, typer.Option(help="Time zone of the cron line.")]
NotifyOption = Annotated[
    str | None,
    typer.Option(help="A notification block of the server that is told of bad nights, e.g. slack-webhook/lab."),
]
StageLimitOption = Annotated[
    list[str] | None,
    typer.Option(help="Runs of a stage at once, over all workers, e.g. track=4. May be repeated.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
FromStageOption = Annotated[StageName, typer.Option("--from-stage", help="Begin with this stage.")]
OnlyFailedOption = Annotated[
    bool, typer.Option("--only-failed", help="Download and track: try what failed before, and nothing else.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Make again what is committed.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Show every line that the stages log.")]


def _use_format(chosen: str) -> str:
    if chosen == "json":
        from flows import logs

        logs.use_json()
    return chosen


def _open_metrics(port: int | None) -> int | None:
    if port is not None:
        from flows import metrics

        metrics.announce(metrics.serve_metrics(port))
    return port


def _open_metrics_of_children(port: int | None) -> int | None:
    if port is not None:
        from flows import metrics

        metrics.announce(metrics.serve_metrics_of_children(port))
    return port


# What these three ask for is done as they are read, before anything is imported that it changes.
LogFormatOption = Annotated[
    Literal["text", "json"],
    typer.Option("--log-format", callback=_use_format, is_eager=True, help="json: an object a line of the log."),
]
_METRICS_HELP = "Serve counters for Prometheus on 127.0.0.1 at this port; 0 takes a free one."
MetricsPortOption = Annotated[
    int | None, typer.Option(min=0, max=65535, callback=_open_metrics, help=_METRICS_HELP, show_default=False)
]
ChildMetricsPortOption = Annotated[
    int | None,
    typer.Option(
        "--metrics-port", min=0, max=65535, callback=_open_metrics_of_children, help=_METRICS_HELP, show_default=False
    ),
]

_DESCRIBING: dict[str, Any] = {
    "sources": SourcesOption,
    "root": RootOption,
    "dataset": DatasetOption,
    "preset": PresetOption,
    "config": ConfigOption,
    "overrides": SetOption,
    "retry": RetryOption,
}


_UNREAD = {"Description": object}  # named by commands for the type checker alone


def described(*left_out: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options that describe a run, but for those `left_out`; its `description` is what they make.

    Typer reads the signature that is set here, so that each option stands in one place.
    """
    kinds = {name: kind for name, kind in _DESCRIBING.items() if name not in left_out}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in kinds.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command, locals=_UNREAD, eval_str=True).parameters.items()
            if name != "description"
        ]

        def run(**given: Any) -> None:
            from flows.description import describe_run  # it knows every field of every stage, and --help needs none

            fields = {name: given.pop(name, None) for name in _DESCRIBING}
            retry, overrides = fields.pop("retry"), list(fields.pop("overrides") or ())
            overrides += [f"download.retry={retry}"] if retry else []
            command(description=describe_run(fields.pop("config"), **fields, overrides=overrides), **given)

        run.__signature__ = inspect.Signature([*options, *own])  # type: ignore[attr-defined]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*options, *own)}
        return run

    return decorate
