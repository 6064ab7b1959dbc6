"""`tritrack`: the command line program."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli_costs import cost_commands
from flows.cli_evaluation import evaluation_commands
from flows.cli_networks import network_commands
from flows.cli_serving import serving_commands
from flows.failing import StageFailed
from flows.options import (
    KEEP,
    LOOK,
    RUN,
    DatasetOption,
    ForceOption,
    FromStageOption,
    JsonOption,
    LogFormatOption,
    MetricsPortOption,
    OnlyFailedOption,
    OnlyOption,
    RootOption,
    SetOption,
    VerboseOption,
    described,
)
from flows.parameters import StageName
from storage.retrying import RootError

if TYPE_CHECKING:
    from flows.description import Description

app = typer.Typer(
    name="tritrack",
    help="Learn visual representations from unlabelled video: download, track, shard, train, evaluate.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_console = Console()


@app.command(rich_help_panel=RUN)
@described()
def run(
    description: Description,
    only: OnlyOption = "",
    from_stage: FromStageOption = "download",
    only_failed: OnlyFailedOption = False,
    force: ForceOption = False,
    flow: Annotated[
        bool, typer.Option("--flow", help="Start the Prefect flow even where there is nothing to do.")
    ] = False,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """Run the whole pipeline: every stage does what is missing. A second run finds everything cached."""
    from flows import running

    wanted = {"from_stage": from_stage, "only_failed": only_failed, "force": force}
    running.run_pipeline(description, _console, only=only, wanted=wanted, verbose=verbose, always_flow=flow)


def _stage_command(stage: str, help_text: str) -> None:
    """Register the command of one stage; all take the same options."""

    @described()
    def command(
        description: Description,
        only: OnlyOption = "",
        only_failed: OnlyFailedOption = False,
        force: ForceOption = False,
        verbose: VerboseOption = False,
        log_format: LogFormatOption = "text",
        metrics_port: MetricsPortOption = None,
    ) -> None:
        from flows import running

        running.run_one(stage, description, _console, only=only, only_failed=only_failed, force=force, verbose=verbose)

    app.command(stage, help=help_text, rich_help_panel=RUN)(command)


_stage_command("download", "Fetch the sources that have no video yet.")
_stage_command("track", "Follow patches through the videos that have no tracks yet.")
_stage_command("shard", "Pack new tracks into shards and index the triplets.")
_stage_command("train", "Train on the newest triplet index, or go on from the last checkpoint.")
_stage_command("evaluate", "Run the benchmarks on the newest checkpoint and write the report.")


@app.command(rich_help_panel=RUN)
@described()
def refresh(
    description: Description,
    only: OnlyOption = "",
    retrain_share: Annotated[
        float, typer.Option(min=0, help="Train again once so large a share of the pairs is new; 0: at any new pair.")
    ] = 0.1,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """Read playlists, feeds and lists again, run what they add, and record the night."""
    from flows import running

    running.run_refresh(description, _console, only=only, retrain_share=retrain_share, verbose=verbose)


@app.command(rich_help_panel=LOOK)
@described("retry")
def preflight(
    description: Description,
    as_json: JsonOption = False,
) -> None:
    """What this machine lacks to fetch the sources; asks no host. Exit code 1 where something cannot be fetched."""
    from flows import maintain

    if not maintain.show_preflight(description, _console, as_json=as_json):
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK)
def nights(
    name: Annotated[str, typer.Argument(help="The data set.")] = "default",
    root: RootOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show so many nights, the newest.")] = 14,
    as_json: JsonOption = False,
) -> None:
    """The last refreshes of a data set: what each tried, kept and tracked, and which were marked."""
    from flows import nights as recorded

    recorded.show_nights(_root(root), name, _console, limit=limit, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def parameters(
    section: Annotated[
        str, typer.Argument(help="download, track, shard, train, evaluate, execution or seed; none: all.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Every parameter that a run takes: its default, what it may be, and what it does."""
    from flows import fields

    fields.show_parameters(section, _console, as_json=as_json)


@app.command(rich_help_panel=LOOK)
@described("sources", "retry")
def status(
    description: Description,
) -> None:
    """What a data set holds, what a run would do now, what failed and why, and where the report is."""
    from flows import running

    running.show_status(description, _console)


@app.command(rich_help_panel=LOOK)
@described("retry")
def explain(
    description: Description,
    as_json: JsonOption = False,
) -> None:
    """What a run would do, stage by stage, and why: the difference to what is committed. Runs nothing."""
    from flows import maintain

    maintain.show_explanation(description, _console, as_json=as_json)


@app.command(rich_help_panel=KEEP)
@described("sources", "retry")
def accept(
    description: Description,
    stage: Annotated[StageName, typer.Argument(help="track, shard, train or evaluate.")],
    as_json: JsonOption = False,
) -> None:
    """Let a stage's committed units stand for the present code and libraries; exit code 1 where one may not."""
    from flows import maintain

    if not maintain.accept(description, stage, _console, as_json=as_json):
        raise typer.Exit(1)


@app.command(rich_help_panel=LOOK)
@described("sources", "retry")
def audit(
    description: Description,
    videos: Annotated[
        int | None, typer.Option("--videos", "-n", min=1, help="Generated videos.  [default: evaluate.audit_videos]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """How often the configured tracker is wrong, and why, on generated videos whose truth is known."""
    from flows import audit as auditing

    auditing.run_audit(description, _console, num_videos=videos, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def show(
    tracks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TRACK]...",
            help="A track's name, first digits of a video's SHA-256, or a source's URL or path; none: a sample of all.",
            show_default=False,
        ),
    ] = None,
    root: RootOption = None,
    dataset: DatasetOption = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures and videos.")] = Path(
        "tritrack-show"
    ),
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Show rejected tracks instead, with the reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option(help="Only those rejected for this reason, e.g. occlusion.", show_default=False)
    ] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="Most tracks.  [default: 24 a sheet, all in a video]")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Look at tracks: contact sheets, and videos with the boxes drawn on them."""
    from flows import show as showing
    from flows.description import describe_run

    where = describe_run(root=root, dataset=dataset)
    showing.show(
        where.root,
        where.dataset,
        tracks or (),
        out,
        _console,
        rejected=rejected,
        reason=reason,
        limit=limit,
        as_json=as_json,
    )


app.add_typer(evaluation_commands)
app.add_typer(network_commands)
app.add_typer(cost_commands)
app.add_typer(serving_commands)


@app.command(rich_help_panel=LOOK)
def datasets(root: RootOption = None, as_json: JsonOption = False) -> None:
    """The data sets of a root, and what their newest versions hold."""
    from flows import maintain

    maintain.show_datasets(_root(root), _console, as_json=as_json)


@app.command(rich_help_panel=LOOK)
def log(
    name: Annotated[str, typer.Argument(help="The data set.")] = "default",
    root: RootOption = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Show so many versions, the newest.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """The versions of a data set: when each was made, by what, and what it changed."""
    from flows import maintain

    maintain.show_log(_root(root), name, _console, limit=limit, as_json=as_json)


@app.command(rich_help_panel=KEEP)
def purge(
    video: Annotated[str, typer.Argument(help="First digits of its SHA-256 (8 at least), its URL or its path.")],
    root: RootOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a video and everything made from it; it will not be fetched again."""
    from flows import maintain

    maintain.run_purge(_root(root), video, _console, assume_yes=yes, as_json=as_json)


@app.command(rich_help_panel=KEEP)
def fsck(
    root: RootOption = None,
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only; read no bytes.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is broken, so that the next run makes just that again.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check every file of a root against its digest; name what is broken (exit code 1), missing or orphaned."""
    from flows import maintain

    if not maintain.run_fsck(_root(root), _console, quick=quick, repairing=repair, as_json=as_json):
        raise typer.Exit(1)


@app.command(rich_help_panel=KEEP)
def gc(
    root: RootOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this, only tell.")] = False,
    grace_hours: Annotated[
        float, typer.Option(min=0, help="Keep what is younger: a run that was killed may go on from it.")
    ] = 24.0,
    keep_versions: Annotated[
        int | None, typer.Option(min=1, help="Keep only so many versions of each data set, the newest.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find (and delete) what no version of any data set reaches. Safe beside live runs."""
    from flows import maintain

    grace_seconds = grace_hours * 3600
    maintain.run_gc(
        _root(root), _console, delete=delete, grace_seconds=grace_seconds, keep_versions=keep_versions, as_json=as_json
    )


@app.command(rich_help_panel=RUN)
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo keeps its clips and its storage root.")] = Path(
        ".tritrack/demo"
    ),
    root: Annotated[
        str | None, typer.Option("--root", "-r", help="Another storage root, e.g. s3://bucket/demo.")
    ] = None,
    videos: Annotated[int, typer.Option(min=4, help="Videos of the generated world.")] = 128,
    overrides: SetOption = None,
    verbose: VerboseOption = False,
    log_format: LogFormatOption = "text",
    metrics_port: MetricsPortOption = None,
) -> None:
    """The whole pipeline on four real clips and a generated world, served over HTTP on this machine."""
    from flows import demo as demonstration

    demonstration.run_demo(folder, root, overrides or (), _console, num_videos=videos, verbose=verbose)


_INTERRUPTED = 130  # Typer's exit code after Ctrl-C


def _root(root: str | None) -> str:
    """The root of a command that needs nothing else; the option reads TRITRACK_ROOT."""
    from flows.description import describe_run

    return describe_run(root=root).root


def main() -> None:
    """Entry point. What the user can mend is told in one line, with exit code 2 (bad input) or 1 (a failed stage)."""
    try:
        app()
    except (ValueError, RootError) as error:
        _fail(error, 2)
    except StageFailed as error:
        _fail(error, 1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        _fail(error, 1, "; free some space and run again, all that is committed is kept")
    except SystemExit as leaving:
        if leaving.code == _INTERRUPTED:
            _say("interrupted; the same command goes on from what is committed", "WARNING")
        raise


def _fail(error: Exception, code: int, remedy: str = "") -> None:
    if os.environ.get("TRITRACK_TRACEBACK"):
        raise error
    _say(f"{error}{remedy}", "ERROR")
    sys.exit(code)


def _say(words: str, level: str) -> None:
    from tasks.logs import say  # --help does without

    say(words, level)


if __name__ == "__main__":
    main()
