"""The preflight: what this machine lacks is found before a request, and named with its remedy."""

from __future__ import annotations

import importlib.metadata
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.networking._urllib import UrllibRH

from tasks.download import preflight as module
from tasks.download.config import DownloadConfig
from tasks.download.preflight import Finding, preflight
from tasks.download.settings import FetchSettings

WEB = "https://example.com/clip.mp4"
YOUTUBE = "https://www.youtube.com/watch?v=x"
HEADER = "# Netscape HTTP Cookie File\n"
COOKIE = ".example.com\tTRUE\t/\tTRUE\t0\tSID\thunter2\n"
CONFIG = DownloadConfig(min_free_bytes=0, max_tool_age_days=0)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing but a scratch folder, which sends no request. Returns the one folder of its PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", os.fspath(programs))
    monkeypatch.setenv("TRITRACK_SCRATCH", os.fspath(tmp_path / "scratch"))
    for name in ("TRITRACK_PROXY", "TRITRACK_COOKIES"):
        monkeypatch.delenv(name, raising=False)

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the preflight asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return programs


def found(
    locations: Sequence[str] = (WEB,), config: DownloadConfig = CONFIG, **settings: Any
) -> list[tuple[str, str, str]]:
    findings = preflight(config, locations, FetchSettings(**settings))
    assert all("\n" not in finding.text for finding in findings)
    return [(finding.host, finding.severity, finding.text) for finding in findings]


def install(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_machine_that_lacks_nothing_is_silent(machine: Path) -> None:
    install(machine, "node", "echo v22.1.0")
    assert found([YOUTUBE, WEB, "/data/clip.mp4"]) == []


@pytest.mark.parametrize("locations", [[], ["/data/clip.mp4", "s3://bucket/clip.mp4"]])
def test_sources_on_no_host_need_no_tool(locations: list[str], tmp_path: Path) -> None:
    old = DownloadConfig(min_free_bytes=0, max_tool_age_days=1)
    assert found(locations, old, proxy="broken", cookies=tmp_path / "absent") == []


@pytest.mark.parametrize(
    "location",
    [YOUTUBE, "https://youtu.be/x", "HTTPS://M.YouTube.com/shorts/x", "ytsearch5:cats", "https://music.youtube.com/x"],
)
def test_youtube_without_a_runtime_is_left_alone(location: str) -> None:
    ((host, severity, text),) = found([WEB, location])
    assert (host, severity) == ("youtube.com", "blocks")
    assert "none is installed" in text
    assert "deno" in text


@pytest.mark.parametrize("location", ["https://example.com/youtube.com", "https://notyoutube.com/x", WEB])
def test_other_hosts_need_no_runtime(location: str) -> None:
    assert found([location]) == []


@pytest.mark.parametrize(
    ("name", "answer", "is_enough"),
    [
        ("deno", "echo 'deno 2.5.6 (stable, release, x86_64-unknown-linux-gnu)'", True),
        ("deno", "echo 'deno 1.46.3 (stable, release, x86_64-unknown-linux-gnu)'", False),
        ("node", "echo v24.0.0", True),
        ("node", "echo v20.20.2", False),
        ("bun", "echo 1.3.1", True),
        ("qjs", "echo 'QuickJS version 2025-09-13'; exit 1", True),
        ("qjs", "echo 'QuickJS version 2021-03-27'; exit 1", False),
        ("node", "exit 127", False),
    ],
)
def test_a_runtime_is_judged_by_yt_dlp(machine: Path, name: str, answer: str, is_enough: bool) -> None:
    path = install(machine, name, answer)
    findings = found([YOUTUBE])
    assert bool(findings) is not is_enough
    for host, severity, text in findings:
        assert (host, severity) == ("youtube.com", "blocks")
        assert str(path) in text
        assert "yt-dlp[default,deno]" in text
        assert name != "node" or "22.0.0 or newer" in text or "tells no version" in text


def test_the_remedy_is_one_that_yt_dlp_offers() -> None:
    assert any(line.endswith("extra == 'deno'") for line in importlib.metadata.requires("yt-dlp") or ())


def test_one_runtime_that_does_is_enough(machine: Path) -> None:
    install(machine, "deno", "echo 'deno 1.0.0'")
    install(machine, "node", "echo v22.0.0")
    assert found([YOUTUBE]) == []


def test_a_runtime_that_hangs_is_not_waited_for(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ANSWER_SECONDS", 0.2)
    path = install(machine, "deno", "exec /bin/sleep 60")
    ((host, severity, text),) = found([YOUTUBE])
    assert (host, severity) == ("youtube.com", "blocks")
    assert f"{path} does not answer" in text


@pytest.mark.parametrize(("version", "words"), [(None, "missing"), ("0.1.0", "0.1.0")])
def test_challenge_scripts_of_another_release_do_not_do(
    machine: Path, monkeypatch: pytest.MonkeyPatch, version: str | None, words: str
) -> None:
    install(machine, "node", "echo v22.0.0")
    standing = importlib.metadata.version

    def installed(name: str) -> str:
        if name != "yt-dlp-ejs":
            return standing(name)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, "version", installed)
    ((host, severity, text),) = found([YOUTUBE])
    assert (host, severity) == ("youtube.com", "blocks")
    assert words in text
    assert "pip install" in text


@pytest.mark.parametrize(
    ("version", "max_days", "is_told"),
    [("2026.8.19", 90, True), ("2026.8.20", 90, False), ("2025.1.1", 0, False), ("2026.08.19.232711", 90, True)],
)
def test_an_old_tool_is_told(monkeypatch: pytest.MonkeyPatch, version: str, max_days: int, is_told: bool) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    findings = list(module._tool_age(max_days, date(2026, 11, 18)))
    assert bool(findings) is is_told
    for finding in findings:
        assert (finding.host, finding.severity) == ("", "warns")
        assert "91 days" in finding.text
        assert "pip install -U" in finding.text


@pytest.mark.parametrize(
    "proxy",
    ["http://127.0.0.1:3128", "http://me:pw@proxy.example", "socks5h://[::1]:1080", "SOCKS5://proxy.example:1"],
)
def test_a_whole_proxy_passes(proxy: str) -> None:
    assert found(proxy=proxy) == []


@pytest.mark.parametrize(
    "proxy",
    [
        "proxy.example:3128",
        "me:hunter2@proxy.example:3128",
        "https://me:hunter2@proxy.example:3128",
        "http://me:hunter2@:3128",
        "http://me:hunter2@proxy.example:port",
        "http://me:hunter2@proxy.example:99999",
        "http://me:hunter2@[::1",
        "http://me:hunter2@proxy.example/path",
        "ftp://proxy.example",
        "/a/b/c",
    ],
)
def test_a_broken_proxy_blocks_every_host_and_shows_no_password(proxy: str) -> None:
    ((host, severity, text),) = found(proxy=proxy)
    assert (host, severity) == ("", "blocks")
    assert "TRITRACK_PROXY" in text
    assert "hunter2" not in text


def test_the_proxies_are_those_of_yt_dlps_handler() -> None:
    assert set(module._PROXY_SCHEMES) == set(UrllibRH._SUPPORTED_PROXY_SCHEMES)


def test_cookies_of_the_right_kind_pass(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(f"{HEADER}# a comment\n\n#HttpOnly_{COOKIE}{COOKIE}")
    path.chmod(0o600)
    assert found(cookies=path) == []


@pytest.mark.parametrize(
    ("text", "severity", "words"),
    [
        ('[{"name": "SID", "value": "hunter2"}]', "blocks", "Netscape"),
        (COOKIE, "blocks", "Netscape"),
        ("", "blocks", "Netscape"),
        ("\x00\xff", "blocks", "UTF-8"),
        (HEADER, "warns", "no cookie"),
        (HEADER + COOKIE.replace("\t", " "), "warns", "no cookie"),
        (HEADER + COOKIE.replace("\t0\t", "\t1600000000\t"), "warns", "expired"),
    ],
    ids=["json", "no header", "empty", "bytes", "no cookie", "spaces for tabs", "expired"],
)
def test_cookies_that_yt_dlp_would_pass_over_are_told(tmp_path: Path, text: str, severity: str, words: str) -> None:
    path = tmp_path / "cookies.txt"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)
    (one,) = found(cookies=path)
    assert one[:2] == ("", severity)
    assert words in one[2]
    assert str(path) in one[2]
    assert "hunter2" not in one[2]


@pytest.mark.parametrize("name", ["absent.txt", ".", "nul\0.txt"])
def test_a_cookies_file_that_cannot_be_read_blocks(tmp_path: Path, name: str) -> None:
    ((host, severity, text),) = found(cookies=tmp_path / name)
    assert (host, severity) == ("", "blocks")
    assert "TRITRACK_COOKIES" in text


def test_cookies_that_others_can_read_are_told(tmp_path: Path) -> None:
    path = tmp_path / "cookies.txt"
    path.write_text(HEADER + COOKIE)
    path.chmod(0o644)
    ((_, severity, text),) = found(cookies=path)
    assert severity == "warns"
    assert "chmod 600" in text


def test_a_scratch_folder_that_is_a_file_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "file"))
    ((host, severity, text),) = found(["/data/clip.mp4"])
    assert (host, severity) == ("", "blocks")
    assert "TRITRACK_SCRATCH" in text


def test_a_scratch_folder_that_takes_no_file_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**named: Any) -> None:
        raise PermissionError(13, "Permission denied", str(named["dir"]))

    monkeypatch.setattr(module.tempfile, "TemporaryFile", refuse)
    ((_, severity, text),) = found([])
    assert severity == "blocks"
    assert "Permission denied" in text


def test_a_scratch_disk_with_too_little_space_is_told() -> None:
    ((host, severity, text),) = found([], DownloadConfig(min_free_bytes=1 << 60))
    assert (host, severity) == ("", "warns")
    assert "min_free_bytes" in text


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_broken_bundle_of_certificates_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    import certifi

    bundle = tmp_path / "bundle.pem"
    if content is not None:
        bundle.write_text(content)
    monkeypatch.setattr(certifi, "where", lambda: str(bundle))
    ((host, severity, text),) = found()
    assert (host, severity) == ("", "blocks")
    assert "certifi" in text


def test_the_settings_of_the_environment_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_PROXY", "broken")
    (finding,) = preflight(CONFIG, [WEB])
    assert isinstance(finding, Finding)
    assert "TRITRACK_PROXY" in finding.text


def test_planning_loads_no_yt_dlp() -> None:
    code = (
        "import sys; from tasks.download.preflight import preflight; from tasks.download.config import DownloadConfig; "
        f"preflight(DownloadConfig(), [{WEB!r}]); assert not {{'yt_dlp', 'av', 'cv2', 'torch'}} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
