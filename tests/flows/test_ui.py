"""The Prefect UI in a real browser: start flows from their forms, watch, cancel, and run a failed stage again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from flows.claim import claim_refresh
from flows.deploy import POOLS
from flows.parameters import STAGES
from storage.leases import Lease
from storage.root import open_root
from storage.versions import latest_version
from tests.flows.conftest import Server, running, wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

_CHROMIUM = Path("/usr/bin/chromium")
_SHOTS = Path(os.environ.get("TRITRACK_SCREENSHOTS", "/tmp/tritrack-screenshots"))
_NAMES = ("pipeline", "download", "track", "shard", "train", "evaluate", "refresh")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ui") / "root"


@pytest.fixture(scope="module")
def served(server: Server, clips: Path, quick: list[str], root: Path) -> Iterator[Server]:
    """`tritrack serve` beside the server."""
    labels = f"evaluate.labels={str(clips / 'labels.parquet')!r}"
    options = ["--root", str(root), "--sources", str(clips), *quick, "--set", labels, "--nightly", "0 3 * * *"]
    command = [sys.executable, "-m", "flows.cli", "serve", *options]
    with running(command, server.environment, server.home / "serve.log"):
        wait_until(lambda: _pools_ready(server), 90)
        yield server


def _pools_ready(server: Server) -> bool:
    """Whether a worker asks each work pool; the deployments are there before."""
    pools = {pool["name"]: pool["status"] for pool in server.post("work_pools/filter", {})}
    return set(pools) == set(POOLS.values()) and set(pools.values()) == {"READY"}


@pytest.fixture(scope="module")
def page(served: Server) -> Iterator[Page]:
    if not _CHROMIUM.exists():
        pytest.skip(f"no Chromium at {_CHROMIUM}")
    from playwright.sync_api import sync_playwright

    _SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=str(_CHROMIUM), args=arguments)
        opened = browser.new_page(viewport={"width": 1400, "height": 1000})
        opened.set_default_timeout(30_000)
        yield opened
        browser.close()


def _newest(server: Server, flow: str) -> str | None:
    """The newest run that somebody started; those that the schedule will start stand before it."""
    runs = server.post("flow_runs/filter", {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC"})
    return next((str(run["id"]) for run in runs if not run["auto_scheduled"]), None)


def _task_states(server: Server, run: str) -> set[str]:
    """State names of a run's tasks.

    The server learns of tasks from events, one by one, which lag behind the run's own state: what a look finds may
    be a part of them, and states that are over.
    """
    return {task["state"]["name"] if task["state"] else "unknown" for task in server.task_runs(run)}


def _press(page: Page, server: Server, run: str, state: str, button: str) -> None:
    """Open a flow run's page once it shows a state, and press a button that asks for confirmation."""
    page.goto(f"{server.url}/runs/flow-run/{run}")
    page.get_by_text(state).first.wait_for()
    page.get_by_role("button", name=button, exact=True).first.click()
    dialog = page.locator("#p-modal-teleport-target")
    confirm = dialog.get_by_role("button", name="Retry" if button == "Retry" else "Confirm", exact=True)
    confirm.click()
    confirm.wait_for(state="detached")
    page.goto("about:blank")  # a run's graph, drawn without a GPU, would take a third of a core meanwhile


def _children(server: Server, run: str) -> dict[str, dict[str, Any]]:
    """The newest flow run of each stage that a flow run started, by flow name."""
    body = {"flow_runs": {"parent_flow_run_id": {"any_": [run]}}, "sort": "EXPECTED_START_TIME_ASC"}
    found = server.post("flow_runs/filter", body)
    flows = {flow["id"]: flow["name"] for flow in server.post("flows/filter", {})}
    return {flows[one["flow_id"]]: one for one in found}


def _start_from_form(page: Page, server: Server, name: str, shot: str) -> str:
    """Open the deployment, choose Custom run, submit the form as it is filled; returns the flow run's id."""
    before = _newest(server, name)
    deployment = server.get(f"deployments/name/{name}/{name}")["id"]
    page.goto(f"{server.url}/deployments/deployment/{deployment}")
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_text("Custom run").first.click()
    page.get_by_text("Storage root: a folder").first.wait_for()  # the form stands; before, Submit does nothing
    page.screenshot(path=_SHOTS / f"{shot}-form.png")
    submit = page.get_by_role("button", name="Submit")

    def is_made() -> bool:
        """A busy SQLite may refuse (503): the form stays, and the user presses again."""
        if submit.is_visible():
            submit.click()
            page.wait_for_timeout(2000)
        return _newest(server, name) != before

    wait_until(is_made, 90)
    run = _newest(server, name)
    assert run is not None
    return run


@pytest.fixture(scope="module")
def filled(page: Page, served: Server) -> str:
    """The id of a run of the whole pipeline, started from its form: what the other tests stand on."""
    run = _start_from_form(page, served, "pipeline", "1-pipeline")
    assert served.wait(run) == "COMPLETED", [log["message"] for log in served.logs(run)]
    return run


def test_the_pipeline_runs_from_its_form(page: Page, served: Server, root: Path, filled: str) -> None:
    page.goto(f"{served.url}/runs/flow-run/{filled}")
    page.get_by_text("Completed").first.wait_for()
    page.screenshot(path=_SHOTS / "2-pipeline-run.png")
    version = latest_version(open_root(str(root)), "default")
    assert {"triplets", "train", "evaluate/report"} <= set(version.units)


@pytest.mark.usefixtures("filled")
def test_artifacts_show_outcomes_scores_and_the_report(page: Page, served: Server) -> None:
    keys = {artifact["key"] for artifact in served.post("artifacts/latest/filter", {"limit": 100})}
    of_stages = {f"{stage}-{what}" for stage in STAGES for what in ("plan", "progress", "outcomes")}
    assert of_stages | {"track-throughput", "scores", "report"} <= keys
    page.goto(f"{served.url}/artifacts")
    page.get_by_text("track-outcomes").first.wait_for()
    page.screenshot(path=_SHOTS / "3-artifacts.png")


def test_the_nightly_schedule_is_shown(page: Page, served: Server) -> None:
    deployment = served.get("deployments/name/refresh/refresh")
    assert [schedule["schedule"]["cron"] for schedule in deployment["schedules"]] == ["0 3 * * *"]
    page.goto(f"{served.url}/deployments/deployment/{deployment['id']}")
    page.get_by_text("At 03:00 AM").first.wait_for()
    page.screenshot(path=_SHOTS / "4-schedule.png")


@pytest.mark.usefixtures("filled")
def test_every_flow_starts_from_its_form_and_finds_its_units_cached(page: Page, served: Server, root: Path) -> None:
    """All are started, then waited for: side by side they take a third of the time."""
    committed = set(root.rglob("manifest.json"))
    runs = {
        name: _start_from_form(page, served, name, f"5-{name}")
        for name in _NAMES
        if name not in ("pipeline", "refresh")
    }
    for run in runs.values():
        assert served.wait(run) == "COMPLETED", [log["message"] for log in served.logs(run)]
        wait_until(lambda run=run: _task_states(served, run) == {"Cached"}, 240)
    assert set(root.rglob("manifest.json")) == committed
    run = _start_from_form(page, served, "refresh", "5-refresh")
    assert served.wait(run) == "COMPLETED", [log["message"] for log in served.logs(run)]


@pytest.mark.usefixtures("filled")
def test_a_refresh_that_overlaps_shows_as_refused_and_a_night_as_a_table(
    page: Page, served: Server, root: Path
) -> None:
    opened = open_root(str(root))
    with Lease(opened, "run") as lease:
        assert claim_refresh(opened, lease, "default") is None
        refused = served.start("refresh")
        assert served.wait(refused) == "COMPLETED"
    page.goto(f"{served.url}/runs/flow-run/{refused}")
    page.get_by_text("Refused").first.wait_for()
    page.screenshot(path=_SHOTS / "7-refused-refresh.png")
    night = served.start("refresh")
    assert served.wait(night) == "COMPLETED", [log["message"] for log in served.logs(night)]
    (newest,) = (one for one in served.post("artifacts/latest/filter", {}) if one["key"] == "default-nights")
    page.goto(f"{served.url}/artifacts/artifact/{newest['latest_id']}")
    page.get_by_text("night (UTC)").first.wait_for()
    page.screenshot(path=_SHOTS / "8-nights.png")


@pytest.mark.usefixtures("filled")
def test_a_failed_stage_is_retried_and_the_pipeline_goes_on_from_there(page: Page, served: Server, root: Path) -> None:
    """The store breaks (a stored video is gone) while `track` has to run; mended, Retry does what is missing."""
    version = latest_version(open_root(str(root)), "default")
    video = sorted(version.videos)[-1]
    stored = root / "videos" / video[:2] / video
    hidden = stored.rename(stored.with_suffix(".away"))
    pipeline = served.start("pipeline", {"track_patch_px": 44})
    assert served.wait(pipeline) == "FAILED"
    told = served.get(f"flow_runs/{pipeline}")["state"]["message"]
    assert "track: its flow run track default ended as Failed" in told
    track = _children(served, pipeline)["track"]["id"]
    page.goto(f"{served.url}/runs/flow-run/{track}")
    page.get_by_text("Failed").first.wait_for()
    page.screenshot(path=_SHOTS / "6-failed-track.png")
    committed = set((root / "track").rglob("manifest.json"))
    hidden.rename(stored)
    _press(page, served, track, "Failed", "Retry")
    wait_until(lambda: served.state(track) == "COMPLETED", 120)
    new = set((root / "track").rglob("manifest.json")) - committed
    assert 1 <= len(new) < len(version.videos), "only what was missing ran"
    assert set(_children(served, pipeline)) == {"download", "track"}, "what follows waits for the pipeline"
    _press(page, served, pipeline, "Failed", "Retry")
    wait_until(lambda: served.state(pipeline) == "COMPLETED", 240)
    page.goto(f"{served.url}/runs/flow-run/{pipeline}")
    page.get_by_text("Completed").first.wait_for()
    page.screenshot(path=_SHOTS / "6-retried-pipeline.png")
    assert set((root / "track").rglob("manifest.json")) == committed | new, "and it tracked nothing again"


@pytest.mark.usefixtures("filled")
def test_a_pipeline_from_a_stage_on_leaves_the_earlier_ones_alone(served: Server, root: Path) -> None:
    tracked = set((root / "track").rglob("manifest.json"))
    onward = served.start("pipeline", {"from_stage": "track"})
    assert served.wait(onward) == "COMPLETED", [log["message"] for log in served.logs(onward)]
    assert set(_children(served, onward)) == {"track", "shard", "train", "evaluate"}
    assert set((root / "track").rglob("manifest.json")) == tracked


@pytest.mark.usefixtures("filled")
def test_logs_of_work_and_of_child_processes_reach_their_run(served: Server) -> None:
    def told(name: str) -> int:
        """Lines of the run's tasks; Prefect sends them in batches, the last after the run's final state."""
        return sum(log["name"].startswith(name) and log["task_run_id"] is not None for log in served.logs(run))

    run = served.start("track", {"track_patch_px": 48})
    assert served.wait(run) == "COMPLETED"
    wait_until(lambda: told("tasks.track.video") >= 6, 240)
    assert told("tasks.track.video") == 6
    run = served.start("train", {"train_steps": 8})
    assert served.wait(run) == "COMPLETED"
    wait_until(lambda: told("tasks.train"), 240)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("started", ["train", "pipeline"])
def test_cancelling_leaves_no_process_of_a_training(page: Page, served: Server, started: str) -> None:
    """Also where the training is another run's, which was cancelled: nobody would wait for it."""
    run = served.start(started, {"train_steps": 100_000, "train_checkpoint_every_steps": 50})

    def ranks() -> list[psutil.Process]:
        """Those that this server's runs started; others may train on this machine."""
        return [
            process
            for process in psutil.process_iter(["cmdline", "environ"])
            if "tasks.train.worker" in " ".join(process.info["cmdline"] or ())
            and (process.info["environ"] or {}).get("PREFECT_API_URL") == served.environment["PREFECT_API_URL"]
        ]

    wait_until(ranks, 120)
    _press(page, served, run, "Running", "Cancel")
    page.screenshot(path=_SHOTS / f"9-cancelled-{started}.png")
    wait_until(lambda: not ranks(), 30)
    assert served.wait(run) == "CANCELLED"
    if started == "pipeline":
        assert served.wait(_children(served, run)["train"]["id"]) == "CANCELLED"
