"""What a fetch takes from this machine: a proxy, cookies, a scratch folder, and the JavaScript runtimes that it has."""

from __future__ import annotations

import os
import shutil
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.download.redaction import redact

# Runtimes that yt-dlp can run YouTube's challenges with (utils/_jsruntime.py), by the name of their program.
RUNTIME_PROGRAMS: Mapping[str, str] = {"deno": "deno", "node": "node", "quickjs": "qjs", "bun": "bun"}


@dataclass(frozen=True, repr=False)
class FetchSettings:
    """Settings of this machine, never of a data set: none of them enters a key, a manifest or a log.

    `proxy`: a URL, with user and password where it wants them. `cookies`: a file in Netscape's format. `scratch`: the
    folder that holds unfinished downloads.
    """

    proxy: str = ""
    cookies: Path | None = None
    scratch: Path | None = None

    def __repr__(self) -> str:
        return f"FetchSettings(proxy={redact(self.proxy)!r}, cookies={self.cookies!r}, scratch={self.scratch!r})"

    @property
    def js_runtimes(self) -> dict[str, dict[str, str]]:
        """The value of yt-dlp's option of this name: every runtime that is installed, with its path.

        Whether its version will do is yt-dlp's to say; the preflight asks that.
        """
        return {name: {"path": path} for name, program in RUNTIME_PROGRAMS.items() if (path := find_program(program))}


def fetch_settings(environment: Mapping[str, str] | None = None) -> FetchSettings:
    """The settings of this process: TRITRACK_PROXY, TRITRACK_COOKIES and TRITRACK_SCRATCH; empty is not set."""
    given = os.environ if environment is None else environment
    cookies, scratch = given.get("TRITRACK_COOKIES", ""), given.get("TRITRACK_SCRATCH", "")
    return FetchSettings(
        proxy=given.get("TRITRACK_PROXY", "").strip(),
        cookies=Path(cookies).expanduser() if cookies else None,
        scratch=Path(scratch).expanduser() if scratch else None,
    )


def find_program(name: str) -> str:
    """The path of a program beside this Python or in PATH, or nothing: in that order, as yt-dlp looks."""
    return shutil.which(name, path=sysconfig.get_path("scripts")) or shutil.which(name) or ""
