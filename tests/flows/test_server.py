"""`tritrack server`: it listens for others only where they need a password."""

from __future__ import annotations

import os

import pytest
from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, temporary_settings

from flows.server import run_server


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that this process would have become."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setenv("PREFECT_UI_API_URL", "http://127.0.0.1:4200/api")  # which it would set for itself
    return commands


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "gpu-1.example"])
def test_others_need_a_password(host: str, started: list[list[str]]) -> None:
    with pytest.raises(ValueError, match=r"^host: others reach .*PREFECT_SERVER_API_AUTH_STRING"):
        run_server(host, 4200)
    assert started == []
    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: "me:word"}):
        run_server(host, 4200)
    assert started[0][-4:] == ["--host", host, "--port", "4200"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_this_machine_needs_none(host: str, started: list[list[str]]) -> None:
    run_server(host, 4200)
    assert len(started) == 1
