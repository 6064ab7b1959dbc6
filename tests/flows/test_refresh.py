"""The refresh flow under Prefect: how a night ends, what it leaves behind, who is told, and when it does not run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from flows import refresh as module
from flows.claim import claim_refresh
from flows.judgement import KEPT, TRACKED
from flows.nights import settings_digests
from flows.plan import StageFailed
from flows.refresh import FAILED_EVENT, MARKED_EVENT, refresh
from storage.leases import Lease, live_leases
from storage.nights import Night, read_nights, write_night
from storage.root import Root, open_root
from storage.versions import version_numbers
from tasks.presets import sample
from tests.flows.imagined_nights import TRACKS, Web

Start = Callable[..., State[list[dict[str, Any]]]]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """Twelve sources; the stages are stubbed."""
    web = Web(named=set(range(12)))
    monkeypatch.setattr(module, "run_stages", web.run_stages)
    return web


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Events that were emitted, instead of sending them: name and payload."""
    emitted: list[tuple[str, dict[str, Any]]] = []

    def emit(event: str, resource: dict[str, str], payload: dict[str, Any]) -> None:
        assert resource["prefect.resource.id"] == "tritrack.dataset.the.night_1"
        emitted.append((event, payload))

    monkeypatch.setattr(module, "emit_event", emit)
    return emitted


@pytest.fixture
def start(harness: None, root: Root, web: Web, events: list[Any]) -> Start:
    def call(**parameters: Any) -> State[list[dict[str, Any]]]:
        state: State[list[dict[str, Any]]] = refresh(
            root=root.url, dataset="the.night_1", return_state=True, **parameters
        )
        return state

    return call


def _good_nights(root: Root, number: int = 3) -> None:
    """Earlier nights on which nearly all was kept."""
    for day in range(1, 1 + number):
        night = Night("the.night_1", f"2026-10-{day:02}T03:00:00.000001+00:00", tried=20, kept=19, videos=19, tracks=95)
        settings = settings_digests(sample())
        write_night(root, replace(night, minutes=9.5, settings=settings, judged=(KEPT, TRACKED), dispersion=1.0))


def _artifact(state: State[Any]) -> str:
    """The table of nights that a run has published."""
    run = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(flow_run_filter=run)
    assert artifact.key == "the-night-1-nights"
    return str(artifact.data)


def test_a_night_is_recorded_and_told(start: Start, root: Root, web: Web, events: list[Any]) -> None:
    web.dead = {1}
    state = start(sources="list.txt")
    assert (state.type, state.name) == ("COMPLETED", "Completed")
    assert web.calls == [{"only": "", "expand": True, "sources": "list.txt"}]
    (night,) = read_nights(root, "the.night_1")
    assert (night.tried, night.kept, night.trained, night.training) == (12, 11, True, "the first training")
    assert night.started < night.ended
    assert night.version == version_numbers(root, "the.night_1")[-1]
    assert night.run == str(state.state_details.flow_run_id)
    assert datetime.fromisoformat(night.scheduled) <= datetime.fromisoformat(night.started)
    summaries = state.result()
    assert [summary["stage"] for summary in summaries] == ["download", "track", "shard", "train", "evaluate", "night"]
    assert summaries[-1]["committed"] == 11
    assert summaries[-1]["counts"]["new_pairs"] == 11 * TRACKS
    assert state.message == summaries[-1]["note"]
    assert "11 of 12 (92%)" in _artifact(state)
    assert events == []
    assert live_leases(root) == []


def test_train_and_evaluate_are_left_out_below_the_share_of_new_pairs(start: Start, root: Root, web: Web) -> None:
    start()
    web.named.add(50)
    web.named.remove(3)
    summaries = start(refresh_retrain_share=0.5).result()
    notes = {summary["stage"]: summary["note"] for summary in summaries}
    assert notes["train"].startswith("8.3% new pairs since version ")
    assert notes["train"].endswith("below retrain_share 50%")
    assert notes["evaluate"] == "the network is the one that was evaluated"
    assert "1 removed" in notes["night"]
    night = read_nights(root, "the.night_1")[-1]
    assert (night.trained, night.removed, night.new_pairs) == (False, 1, TRACKS)
    assert [one["committed"] for one in start(refresh_retrain_share=0.05).result() if one["stage"] == "train"] == [1]


def test_a_collapse_is_marked_though_all_is_green(
    start: Start, root: Root, web: Web, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    _good_nights(root)
    web.dead = set(range(1, 12))
    with caplog.at_level(logging.WARNING, "flows.refresh"):
        state = start()
    assert (state.type, state.name) == ("COMPLETED", "Marked")
    mark = "kept 1 of 12 (8%), the median of the last 3 nights is 95%; 11 gone"
    assert state.message == mark
    assert read_nights(root, "the.night_1")[-1].marks == (mark,)
    assert [line for line in caplog.messages if line.startswith(f"refresh: night marked: {mark}")]
    assert mark in _artifact(state)
    ((event, payload),) = events
    assert event == MARKED_EVENT
    assert payload["message"].startswith(mark)
    assert (payload["dataset"], payload["marks"], payload["kept"]) == ("the.night_1", [mark], 1)
    assert state.result()[-1]["counts"]["marks"] == 1
    assert start(refresh_collapse_share=0.0).name == "Completed", "nothing is marked with a share of 0"


def test_a_night_that_fails_is_recorded_and_fails(
    start: Start, root: Root, web: Web, events: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        yield from list(web.run_stages(*arguments, **options))[:2]
        raise StageFailed("shard: 3 left for later: no space left\nmore")

    monkeypatch.setattr(module, "run_stages", fail)
    state = start()
    assert state.is_failed()
    with pytest.raises(StageFailed):
        state.result()
    (night,) = read_nights(root, "the.night_1")
    assert night.failed == "StageFailed: shard: 3 left for later: no space left"
    assert (night.kept, set(night.seconds)) == (12, {"download", "track"})
    assert [event for event, _ in events] == [FAILED_EVENT]
    assert events[0][1]["message"].startswith("failed: StageFailed")


def test_a_part_of_the_sources_is_no_night(start: Start, root: Root, web: Web, events: list[Any]) -> None:
    state = start(only="batch 3")
    assert state.message == "a part of the sources (batch 3): not counted as a night"
    assert web.calls == [{"only": "batch 3", "expand": True, "sources": ""}]
    assert read_nights(root, "the.night_1") == []
    assert [summary["stage"] for summary in state.result()][-1] == "evaluate"


def test_one_that_overlaps_is_refused_and_says_by_whom(
    start: Start, root: Root, web: Web, caplog: pytest.LogCaptureFixture
) -> None:
    with Lease(root, "run") as lease, caplog.at_level(logging.WARNING, "flows.refresh"):
        assert claim_refresh(root, lease, "the.night_1") is None
        state = start()
        assert (state.type, state.name) == ("COMPLETED", "Refused")
        assert state.message == f"a refresh of the.night_1 is under way already ({lease.record.holder})"
        assert [line for line in caplog.messages if state.message in line]
        assert refresh(root=root.url, dataset="another", return_state=True).name == "Completed"
    assert len(web.calls) == 1
    assert read_nights(root, "the.night_1") == []
    assert start().name == "Completed"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "Skipped"),
        ({"auto_scheduled": False}, "Completed"),
        ({"run_count": 2}, "Completed"),
        ({"expected_start_time": datetime.now(UTC) + timedelta(hours=1)}, "Completed"),
    ],
)
def test_a_scheduled_run_that_was_missed_is_skipped(
    start: Start, root: Root, web: Web, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], name: str
) -> None:
    """A late one, since a night has begun after it was due; not one that a person starts, or starts again."""
    late = {"auto_scheduled": True, "run_count": 1, "expected_start_time": datetime.now(UTC) - timedelta(hours=1)}
    write_night(root, Night("the.night_1", (datetime.now(UTC) - timedelta(minutes=5)).isoformat()))
    run = SimpleNamespace(id="run", **{**late, **changes})
    monkeypatch.setattr(module, "this_flow_run", lambda: run)
    state = start()
    assert (state.type, state.name) == ("COMPLETED", name)
    assert (len(web.calls), len(read_nights(root, "the.night_1"))) == ((0, 1) if name == "Skipped" else (1, 2))
    if name == "Skipped":
        assert state.message is not None
        assert state.message.startswith("it was due at ")
