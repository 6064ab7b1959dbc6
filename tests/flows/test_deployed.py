"""Stages as runs of their own, with the server stubbed: what a parent says and does about its children."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.states import Cancelling, Completed, Failed, Running, Scheduled, State

from flows import deployed
from flows.deployed import Children
from flows.plan import StageFailed
from storage.layout import summary_path
from storage.root import Root, open_root


class _Server:
    """Flow runs that go through the given states, one a look."""

    def __init__(self, *states: State[Any]) -> None:
        self.states, self.run = list(states), FlowRun(flow_id=uuid4(), name="track night")
        self.set: list[str] = []

    def read_flow_run(self, run: UUID) -> FlowRun:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return self.run.model_copy(update={"state": state})

    def set_flow_run_state(self, run: UUID, state: State[Any]) -> None:
        self.set.append(state.name or "")
        self.states = [Cancelling()]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(str(tmp_path / "root"))


def _children(monkeypatch: pytest.MonkeyPatch, root: Root, server: _Server) -> Children:
    @contextmanager
    def client(sync_client: bool) -> Iterator[_Server]:
        yield server

    monkeypatch.setattr(deployed, "get_client", client)
    monkeypatch.setattr(deployed, "run_deployment", lambda *arguments, **options: server.run)
    monkeypatch.setattr(
        deployed, "time", SimpleNamespace(sleep=lambda _: None, monotonic=iter(range(0, 10**6, 40)).__next__)
    )
    return Children(root)


def test_a_summary_is_read_once(monkeypatch: pytest.MonkeyPatch, root: Root) -> None:
    server = _Server(Scheduled(), Running(), Completed())
    path = summary_path(str(server.run.id))
    root.write_bytes(path, json.dumps({"stage": "track", "wanting": 0}).encode())
    with _children(monkeypatch, root, server) as children:
        assert children.run("track", {"dataset": "night"}) == {"stage": "track", "wanting": 0}
    assert not root.exists(path)
    assert server.set == []


def test_a_failed_stage_is_told_with_its_run_and_what_to_do(monkeypatch: pytest.MonkeyPatch, root: Root) -> None:
    server = _Server(Running(), Failed(message="Flow run encountered an exception: RootError: it is gone\nmore"))
    with _children(monkeypatch, root, server) as children, pytest.raises(StageFailed) as failed:
        children.run("track", {"dataset": "night"})
    assert str(failed.value).startswith("track: its flow run track night ended as Failed: RootError: it is gone; mend")
    assert "\n" not in str(failed.value)


def test_a_parent_that_ends_cancels_what_is_under_way(monkeypatch: pytest.MonkeyPatch, root: Root) -> None:
    server = _Server(Running())
    children = _children(monkeypatch, root, server)
    children.start("track", {"dataset": "night"})
    children.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert server.set == ["Cancelling"]


def test_a_run_that_no_worker_takes_is_told_once(
    monkeypatch: pytest.MonkeyPatch, root: Root, caplog: pytest.LogCaptureFixture
) -> None:
    server = _Server(*[Scheduled() for _ in range(6)], Failed(message="gave up"))
    caplog.set_level(logging.WARNING, "flows.deployed")
    with _children(monkeypatch, root, server) as children, pytest.raises(StageFailed):
        children.run("track", {"dataset": "night"})
    told = [record.getMessage() for record in caplog.records if "no worker" in record.getMessage()]
    assert told == [
        "track: no worker has taken its flow run track night for a minute; start one with: tritrack worker track"
    ]
