"""The preflight: what a download would miss on this machine, found and named before any request is made."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import ssl
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tasks.download.config import DownloadConfig
from tasks.download.hosts import host_of
from tasks.download.redaction import redact
from tasks.download.scratch import scratch_root
from tasks.download.settings import RUNTIME_PROGRAMS, FetchSettings, fetch_settings, find_program
from tasks.records import Paused

YOUTUBE = "youtube.com"
_PROXY_SCHEMES = ("http", "socks4", "socks4a", "socks5", "socks5h")  # what yt-dlp's urllib handler speaks
_ANSWER_SECONDS = 5.0  # for a runtime to tell its version; node takes 0.05 s
_MAGIC = re.compile("#( Netscape)? HTTP Cookie File")  # http.cookiejar reads no file without it
_HTTP_ONLY = "#HttpOnly_"  # begins a line that is a cookie, not a comment
_COOKIE_FIELDS = 7


@dataclass(frozen=True)
class Finding:
    """What is missing or old, in one line with its remedy.

    `blocks`: the sources of `host`, or of every host where it is empty, would fail and need not be tried.
    """

    host: str
    severity: Literal["blocks", "warns"]
    text: str


def preflight(config: DownloadConfig, locations: Iterable[str], settings: FetchSettings | None = None) -> list[Finding]:
    """What this machine lacks for these sources; no host is asked. A list of local files needs scratch space alone.

    Loads yt-dlp only where a source is YouTube's and a JavaScript runtime is there to be judged.
    """
    settings = fetch_settings() if settings is None else settings
    is_remote, is_youtube = _sites(locations)
    findings = list(_scratch(config.min_free_bytes))
    if is_remote:
        findings += [*_proxy(settings.proxy), *_cookies(settings.cookies), *_certificates()]
        findings += _tool_age(config.max_tool_age_days, datetime.now(UTC).date())
    if is_youtube:
        findings += [*_challenge_scripts(), *_javascript_runtime()]
    return findings


def _sites(locations: Iterable[str]) -> tuple[bool, bool]:
    """Whether any source is on a host, and whether one is YouTube's."""
    is_remote = False
    for location in locations:
        is_remote = is_remote or bool(host_of(location))
        if ("youtu" in location.lower() or location.startswith("ytsearch")) and host_of(location) == YOUTUBE:
            return True, True
    return is_remote, False


def _scratch(min_free_bytes: int) -> Iterator[Finding]:
    try:
        folder = scratch_root()
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except Paused as paused:
        yield _blocks("", str(paused))
        return
    except OSError as error:
        yield _blocks("", f"scratch: {error.filename}: {error.strerror}; set TRITRACK_SCRATCH to another folder")
        return
    if free < min_free_bytes:
        needed = f"download.min_free_bytes = {min_free_bytes:,}"
        yield _warns(  # no more: the fetch leaves its sources pending, and goes on where space is made
            f"scratch: {folder} has {free:,} bytes free, less than {needed}; free space, or set TRITRACK_SCRATCH"
        )


def _proxy(proxy: str) -> Iterator[Finding]:
    if not proxy:
        return
    try:
        parts = urlsplit(proxy)
        is_whole = bool(parts.hostname) and parts.port != 0 and not parts.path.strip("/") and not parts.query
    except ValueError:  # a port that is no number, brackets that do not match
        is_whole = False
    if not is_whole or parts.scheme not in _PROXY_SCHEMES:
        known = ", ".join(_PROXY_SCHEMES)
        yield _blocks(
            "", f"TRITRACK_PROXY: {redact(proxy)!r} is no scheme://[user:password@]host:port; schemes: {known}"
        )


def _cookies(path: Path | None) -> Iterator[Finding]:
    """yt-dlp passes over a file that it cannot read, and over lines that it does not understand, without an error."""
    if path is None:
        return
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else "no UTF-8 text"
        yield _blocks("", f"TRITRACK_COOKIES: {str(path)!r} cannot be read ({reason}); give the path of a cookies file")
        return
    if not lines or not _MAGIC.match(lines[0]):
        words = "does not begin with '# Netscape HTTP Cookie File'; export it in Netscape's format"
        yield _blocks("", f"TRITRACK_COOKIES: {str(path)!r} {words}")
        return
    fields = [line.removeprefix(_HTTP_ONLY).split("\t") for line in lines if _is_entry(line)]
    whole = [one for one in fields if len(one) == _COOKIE_FIELDS]
    if not whole:
        yield _warns(
            f"TRITRACK_COOKIES: {str(path)!r} holds no cookie of {_COOKIE_FIELDS} tab-separated fields; export it again"
        )
    elif all(_has_expired(one[4]) for one in whole):
        yield _warns(f"TRITRACK_COOKIES: every cookie of {str(path)!r} has expired; export it again")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield _warns(f"TRITRACK_COOKIES: others can read {str(path)!r}; chmod 600 it")


def _is_entry(line: str) -> bool:
    return bool(line.strip()) and (line.startswith(_HTTP_ONLY) or not line.startswith("#"))


def _has_expired(field: str) -> bool:
    """A cookie without an expiry (0 or empty) lasts for the session."""
    return bool(re.fullmatch(r"\d+(\.\d+)?", field)) and 0 < float(field) < time.time()


def _certificates() -> Iterator[Finding]:
    """Without the certificates of its authorities every https host fails; yt-dlp takes certifi's, else the system's."""
    try:
        import certifi

        ssl.create_default_context(cafile=certifi.where())
    except ImportError:
        found = ssl.get_default_verify_paths()
        if not (found.cafile or found.capath):
            yield _blocks("", "certificates: neither certifi nor the system has a bundle; pip install certifi")
    except OSError as error:  # no file, or none that OpenSSL reads
        yield _blocks(
            "", f"certificates: certifi's bundle cannot be loaded ({error}); pip install --force-reinstall certifi"
        )


def _tool_age(max_days: int, today: date) -> Iterator[Finding]:
    """Sites change under yt-dlp, whose version is its date: an old one fails in ways that look like the site's."""
    version = importlib.metadata.version("yt-dlp")
    match = re.match(r"(\d{4})\.(\d{1,2})\.(\d{1,2})", version)
    if not max_days or match is None:
        return
    days = (today - date(*map(int, match.groups()))).days
    if days > max_days:
        allowed = f"download.max_tool_age_days = {max_days}"
        yield _warns(f"yt-dlp {version} is {days} days old, more than {allowed}; pip install -U 'yt-dlp[default]'")


def _challenge_scripts() -> Iterator[Finding]:
    """yt-dlp runs the scripts of the package that its release names, up to the patch number."""
    wanted = next(
        (
            line.split(";")[0].partition("==")[2]
            for line in importlib.metadata.requires("yt-dlp") or ()
            if "ejs==" in line
        ),
        "",
    )
    try:
        version = importlib.metadata.version("yt-dlp-ejs")
    except importlib.metadata.PackageNotFoundError:
        version = ""
    if version.split(".")[:2] != wanted.strip().split(".")[:2]:
        has = f"yt-dlp-ejs is {version}" if version else "yt-dlp-ejs is missing"
        yield _blocks(
            YOUTUBE, f"YouTube needs yt-dlp-ejs {wanted.strip()}, and {has}; pip install -U 'yt-dlp[default]'"
        )


def _javascript_runtime() -> Iterator[Finding]:
    """By yt-dlp's own detection, which waits for ever: a program that does not answer is not given to it."""
    refused: list[str] = []
    for name, program in RUNTIME_PROGRAMS.items():
        path = find_program(program)
        if not path:
            continue
        from yt_dlp.globals import supported_js_runtimes

        if not _answers(path, "--help" if name == "quickjs" else "--version"):
            refused.append(f"{path} does not answer")
            continue
        kind = supported_js_runtimes.value[name]
        info = kind(path=path).info
        if info is not None and info.supported:
            return
        enough = ".".join(map(str, kind.MIN_SUPPORTED_VERSION))
        refused.append(f"{path} is {info.version}, not {enough} or newer" if info else f"{path} tells no version")
    has = "; ".join(refused) or "none is installed"
    yield _blocks(
        YOUTUBE, f"YouTube needs a JavaScript runtime, and {has}; pip install 'yt-dlp[default,deno]', or install node"
    )


def _answers(program: str, argument: str) -> bool:
    silent = subprocess.DEVNULL
    try:
        subprocess.run([program, argument], stdin=silent, stdout=silent, stderr=silent, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return True


def _blocks(host: str, text: str) -> Finding:
    return Finding(host, "blocks", text)


def _warns(text: str) -> Finding:
    return Finding("", "warns", text)
