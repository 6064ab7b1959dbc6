"""Settings of the fetch: read from the environment, shown without secrets, and in the form that yt-dlp takes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yt_dlp
from yt_dlp.globals import supported_js_runtimes

from tasks.download.settings import RUNTIME_PROGRAMS, FetchSettings, fetch_settings


def test_an_empty_environment_sets_nothing() -> None:
    assert fetch_settings({}) == FetchSettings()
    assert fetch_settings({"TRITRACK_PROXY": " ", "TRITRACK_COOKIES": "", "TRITRACK_SCRATCH": ""}) == FetchSettings()


def test_each_variable_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TRITRACK_PROXY", "socks5://proxy.example:1080")
    monkeypatch.setenv("TRITRACK_COOKIES", "~/cookies.txt")
    monkeypatch.setenv("TRITRACK_SCRATCH", "/data/scratch")
    assert fetch_settings() == FetchSettings(
        "socks5://proxy.example:1080", tmp_path / "cookies.txt", Path("/data/scratch")
    )


@pytest.mark.parametrize("proxy", ["http://me:hunter2@proxy.example:3128", "me:hunter2@proxy.example:3128"])
def test_a_proxys_password_is_not_shown(proxy: str) -> None:
    settings = FetchSettings(proxy=proxy, cookies=Path("/home/me/cookies.txt"))
    for text in (repr(settings), str(settings), f"{settings}", repr([settings])):
        assert "hunter2" not in text
        assert "proxy.example:3128" in text
        assert "cookies.txt" in text


def test_the_runtimes_are_those_of_yt_dlp() -> None:
    assert RUNTIME_PROGRAMS.keys() == supported_js_runtimes.value.keys()


def test_a_runtime_in_the_path_is_one_that_yt_dlp_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "node"
    program.write_text("#!/bin/sh\necho v24.1.0\n")
    program.chmod(0o755)
    (tmp_path / "deno").mkdir()
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    runtimes = fetch_settings().js_runtimes
    assert runtimes == {"node": {"path": str(program)}}
    with yt_dlp.YoutubeDL({"quiet": True, "js_runtimes": runtimes}) as tool:
        info = tool._js_runtimes["node"].info
    assert (info.version, info.supported, info.path) == ("24.1.0", True, str(program))


def test_without_a_runtime_yt_dlp_is_given_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    assert fetch_settings().js_runtimes == {}
