"""Redaction: what must not reach a log, a manifest or a report, and the terminal codes that tools put in words."""

from __future__ import annotations

import re

_USER = re.compile(r"(?<=://)[^\s/?#]+@")
_QUERY = re.compile(
    r"([?&;#][^\s=&;#]*(?:token|sig|key|pass|auth|secret|credential|session)[^\s=&;#]*=)[^\s&;#\"'<>)]+", re.IGNORECASE
)
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def redact(text: str) -> str:
    """Put *** for user:password in a URL and for the value of every query field that is named like a secret."""
    return _QUERY.sub(r"\1***", _USER.sub("***@", text))


def plain_words(text: str) -> str:
    """A tool's own words, whole: only terminal codes, secrets and outer white space are taken out."""
    return redact(_TERMINAL.sub("", text)).strip()
