"""What `tritrack deploy` registers: pools, limits, schedule, its refusals, and who is told of a bad night."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Completed as StateCompleted
from prefect.states import Running
from rich.console import Console

from flows.automations import BAD_NIGHTS, DEAD_RUNS, crash_dead_runs, notify_of_bad_nights
from flows.code import CODE_VARIABLE, code_name, require_deployed_code
from flows.deploy import POOLS, Serving, deploy, make_deployments, next_night, read_limits
from flows.description import describe_run
from flows.judgement import KEPT
from flows.nights import settings_digests
from storage.nights import Night, read_nights, write_night
from storage.root import Root, open_root
from tasks.presets import sample
from tests.flows.conftest import Server, wait_until

Tritrack = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(
    ("cron", "timezone", "told"),
    [
        ("every night", "UTC", "nightly: 'every night' is no cron line"),
        ("61 3 * * *", "UTC", "nightly: '61 3 * * *' is no cron line"),
        ("0 0 31 2 *", "UTC", "that ever fires"),
        ("0 3 * * *", "Berlin", "timezone: 'Berlin' is unknown; give an IANA name"),
        ("0 3 * * *", "../zone", "timezone: '../zone' is unknown"),
    ],
)
def test_a_wrong_cron_line_or_zone_is_one_line(cron: str, timezone: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^(nightly|timezone): ") as failed:
        next_night(cron, timezone)
    assert told in str(failed.value)
    assert "\n" not in str(failed.value)


def test_a_night_begins_by_the_clock_of_its_zone() -> None:
    night = next_night("30 3 * * *", "America/New_York")
    assert (night.hour, night.minute) == (3, 30)
    assert night.utcoffset() != next_night("30 3 * * *", "Asia/Tokyo").utcoffset()


def test_serve_refuses_a_wrong_cron_line_before_it_looks_for_a_server(tritrack: Tritrack, tmp_path: Path) -> None:
    options = ["--root", str(tmp_path), "--nightly", "0 25 * * *"]
    done = tritrack("serve", *options, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert done.stderr.startswith("tritrack: nightly: '0 25 * * *' is no cron line")
    assert done.stderr.count("\n") == 1


def _deployments(root: Path, cron: str | None = "0 3 * * *") -> dict[str, RunnerDeployment]:
    description = describe_run(root=str(root), dataset="night")
    made = make_deployments(
        description, Serving(cron, "Europe/Berlin"), read_limits(("track=3",)), dict.fromkeys(POOLS.values(), "process")
    )
    return {deployment.name: deployment for deployment in made}


def test_only_refresh_is_scheduled_and_runs_alone(tmp_path: Path) -> None:
    made = _deployments(tmp_path)
    (schedule,) = made["refresh"].schedules or ()
    assert schedule.schedule.model_dump() == {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "day_or": True}
    assert made["refresh"].concurrency_limit == 1
    assert made["refresh"].concurrency_options is not None
    assert made["refresh"].concurrency_options.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW
    assert [name for name, one in made.items() if one.schedules] == ["refresh"]
    assert not _deployments(tmp_path, None)["refresh"].schedules


def test_each_stage_has_a_pool_a_limit_and_the_code_it_was_made_from(tmp_path: Path) -> None:
    made = _deployments(tmp_path)
    assert {name: one.work_pool_name for name, one in made.items() if name in POOLS} == POOLS
    assert made["refresh"].work_pool_name == made["ablate"].work_pool_name == POOLS["pipeline"]
    limits = {name: one.concurrency_limit for name, one in made.items() if name != "refresh"}
    assert {name: limit for name, limit in limits.items() if limit} == {
        "download": 1, "track": 3, "shard": 1, "train": 1, "evaluate": 2,
    }  # fmt: skip
    assert {one.job_variables["env"][CODE_VARIABLE] for one in made.values()} == {code_name()}
    assert all(one.version and one.description and one.tags[0] == "tritrack" for one in made.values())


@pytest.mark.parametrize("text", ["track", "track=0", "track=-1", "fly=2", "track=two"])
def test_a_wrong_limit_is_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^limit: '{text}' is no limit; write STAGE=NUMBER"):
        read_limits((text,))


def test_a_worker_with_other_code_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    of_bytes, _, of_syntax = code_name().partition(".")
    for name in ("", code_name(), f"{'0' * 16}.{of_syntax}", f"{of_bytes}.{'0' * 16}"):  # comments alone may differ
        monkeypatch.setenv(CODE_VARIABLE, name)
        require_deployed_code()
    monkeypatch.setenv(CODE_VARIABLE, "0" * 16 + "." + "0" * 16)
    with pytest.raises(ValueError, match=r"^code: this worker runs Tritrack .* install the same on both"):
        require_deployed_code()


def test_the_form_of_refresh_describes_its_own_parameters(tmp_path: Path) -> None:
    schema = _deployments(tmp_path)["refresh"]._parameter_openapi_schema.properties
    for name in ("refresh_retrain_share", "refresh_collapse_share", "only"):
        assert schema[name]["description"], name
    assert schema["refresh_retrain_share"]["default"] == 0.1


@pytest.fixture
def on_server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, and this process as its client."""
    monkeypatch.setenv("PREFECT_API_URL", server.api)  # as `deploy` does, for the processes that it starts
    with temporary_settings({PREFECT_API_URL: server.api}):
        yield server


def test_deploying_twice_changes_nothing(on_server: Server, tmp_path: Path) -> None:
    """Work pools that a user made or changed stay what they are; so does an automation."""
    description = describe_run(root=str(tmp_path / "root"), dataset="night")
    serving = Serving("0 3 * * *", "Europe/Berlin")
    found = []
    for _ in range(2):
        deploy(description, serving, Console(quiet=True))
        with get_client(sync_client=True) as client:
            pools = {pool.name: pool.id for pool in client.read_work_pools()}
            (automation,) = client.read_automations_by_name(DEAD_RUNS)
            deployments = {one.name: one.id for one in client.read_deployments()}
        found.append((pools, automation.id, deployments))
    with get_client(sync_client=True) as client:
        client.delete_automation(found[0][1])
    assert found[0] == found[1]
    assert set(found[0][0]) == set(POOLS.values())
    assert len(found[0][2]) == 9


def test_a_run_whose_heart_stopped_is_crashed_and_one_that_ended_is_not(on_server: Server) -> None:
    """The server hears a heartbeat of two runs, then nothing more of the one that died."""
    with get_client(sync_client=True) as client:
        crash_dead_runs(10.0)
        died, ended = (client.create_flow_run(_idle, state=Running()) for _ in range(2))
        # Events of a run that ends: its last heartbeat may arrive after its end.
        client.set_flow_run_state(ended.id, StateCompleted())
        beats = [
            {
                "occurred": datetime.now(UTC).isoformat(),
                "event": "prefect.flow-run.heartbeat",
                "resource": {"prefect.resource.id": f"prefect.flow-run.{run.id}"},
                "id": str(uuid4()),
            }
            for run in (died, ended)
        ]
        # Not by `emit_event`: it tells whichever server this process spoke to first.
        httpx.post(f"{on_server.api}/events", json=beats, timeout=30).raise_for_status()
        wait_until(lambda: on_server.state(str(died.id)) == "CRASHED", 240)
        assert on_server.state(str(ended.id)) == "COMPLETED"
        (automation,) = client.read_automations_by_name(DEAD_RUNS)
        client.delete_automation(automation.id)


@flow
def _idle() -> None:
    """Stands for any flow."""


def test_a_schedule_makes_runs(on_server: Server, tmp_path: Path) -> None:
    """Not only the deployment stands there: the server's scheduler works with the libraries that are installed."""
    _deployments(tmp_path)["refresh"].apply()
    body = {"flows": {"name": {"any_": ["refresh"]}}, "limit": 3, "sort": "EXPECTED_START_TIME_ASC"}
    wait_until(lambda: on_server.post("flow_runs/filter", body), 240)
    runs = on_server.post("flow_runs/filter", body)
    assert {(run["auto_scheduled"], run["state"]["name"]) for run in runs} == {(True, "Scheduled")}
    assert {run["expected_start_time"][11:16] for run in runs} <= {"01:00", "02:00"}, "3 o'clock in Berlin"


def test_a_block_that_cannot_notify_is_one_line(on_server: Server) -> None:
    with pytest.raises(ValueError, match=r"^notify: 'slack-webhook/lab' is no block .* there are: none$"):
        notify_of_bad_nights("slack-webhook/lab")
    with pytest.raises(ValueError, match=r"^notify: 'lab' is no block"):
        notify_of_bad_nights("lab")
    Secret(value="x").save("word")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^notify: 'secret/word' is no notification block"):
        notify_of_bad_nights("secret/word")
    with get_client(sync_client=True) as client:
        assert client.read_automations_by_name(BAD_NIGHTS) == []


@contextmanager
def _webhook() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A web hook on this machine: its URL, and the messages that it was sent."""
    messages: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        thread = threading.Thread(target=hook.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{hook.server_port}/", messages
        finally:
            hook.shutdown()
            thread.join()


def _collapse(server: Server, root: Root, folder: Path) -> None:
    """Run a refresh, in a process of its own, of twelve sources that nobody serves, after three good nights."""
    config = sample().model_copy(
        update={"download": sample().download.model_copy(update={"allow_hosts": ("127.0.0.1",), "retries": 0})}
    )
    night = Night("night", "", tried=20, kept=19, settings=settings_digests(config), judged=(KEPT,))
    for day in (1, 2, 3):
        write_night(root, replace(night, started=f"2026-10-0{day}T03:00:00.000001+00:00"))
    sources = folder / "list.txt"
    sources.write_text("".join(f"http://127.0.0.1:{port}/clip.mp4\n" for port in range(1, 13)))
    parameters = {
        "root": root.url,
        "dataset": "night",
        "sources": str(sources),
        "download_allow_hosts": ["127.0.0.1"],
        "download_retries": 0,
    }
    code = "import json, sys; from flows.refresh import refresh; "
    code += "state = refresh(**json.loads(sys.argv[1]), return_state=True); print(state.name)"
    command = [sys.executable, "-c", code, json.dumps(parameters)]
    done = subprocess.run(
        command, env=dict(server.environment), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("Marked"), done.stdout + done.stderr


def test_a_marked_night_sends_a_message(on_server: Server, tmp_path: Path) -> None:
    root = open_root(str(tmp_path / "root"))
    with _webhook() as (url, messages):
        data = {"subject": "{{subject}}", "body": "{{body}}"}
        CustomWebhookNotificationBlock(name="hook", url=url, json_data=data).save("lab")
        for _ in range(3):
            notify_of_bad_nights("custom-webhook/lab")
        with get_client(sync_client=True) as client:
            (automation,) = client.read_automations_by_name(BAD_NIGHTS)
        assert automation.enabled
        _collapse(on_server, root, tmp_path)
        wait_until(lambda: messages, 240)
    night = read_nights(root, "night")[-1]
    assert len(messages) == 1
    assert messages[0]["subject"] == f"Tritrack: night, night of {night.started[:10]}"
    assert messages[0]["body"].startswith("kept 0 of 12 (0%), the median of the last 3 nights is 95%")


def test_an_automation_that_was_disabled_stays_so(on_server: Server) -> None:
    CustomWebhookNotificationBlock(name="hook", url="http://127.0.0.1:9/").save("lab", overwrite=True)
    notify_of_bad_nights("custom-webhook/lab")
    with get_client(sync_client=True) as client:
        (automation,) = client.read_automations_by_name(BAD_NIGHTS)
        client.pause_automation(automation.id)
        notify_of_bad_nights("custom-webhook/lab")
        (automation,) = client.read_automations_by_name(BAD_NIGHTS)
        assert not automation.enabled
        client.delete_automation(automation.id)
