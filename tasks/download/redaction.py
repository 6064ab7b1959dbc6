"""Redaction: what must not reach a log, a manifest or a report, and the terminal codes that tools put in words."""

from __future__ import annotations

import re

_HIDDEN = "***"

# A query field: its separator (encoded too, where a URL is a field of another one; Akamai's ~), its name, its value.
# Names and passwords are bounded, so that no text costs more than time linear in its length.
_SEPARATOR = r"(?:[?&;#~]|%(?:3F|26|3B|23))"
_NAME = r"(?:(?!%3D)[^\s=&;#~]){0,64}"
_VALUE = r"(?:(?!%26|;[\w.~-]+=)[^\s&#\"<>])+"
_SECRET = r"token|sig|key|pass|auth|secret|credential|session|hmac|jwt|hdne|hdnt|x-goog-"
_FIELD = re.compile(
    rf"({_SEPARATOR}(?:{_NAME}?(?:{_SECRET}){_NAME}|pot|oh)(?:=|%3D)){_VALUE}",  # pot: YouTube's, oh: Facebook's
    re.IGNORECASE,
)

# Fields that say how far a signature reaches and whose it is (Azure, CloudFront, YouTube): hidden beside one alone.
_SIGNED = re.compile(r"(?:sig|signature|Key-Pair-Id)(?:=|%3D)", re.IGNORECASE)
_GRANT = re.compile(rf"({_SEPARATOR}(?:Expires?|Policy|s[eprtv]|spr|sk\w+|ip)(?:=|%3D)){_VALUE}", re.IGNORECASE)
_GRANT_IN_PATH = re.compile(r"(/(?:l?sig|signature|pot|ip|expire)/)[^\s/?#\"'<>]+")  # in manifests of YouTube

_USER = re.compile(r"(?<=://)[^\s/?#]+@")
# Of a proxy that is given without a scheme.
_BARE_USER = re.compile(r"(?<![\w:/@.%+-])(?!mailto:)[\w.%+-]{1,64}:[^\s/@]{1,256}@(?=[\w\[])")
_HEADER_NAME = r"(?:proxy-)?authorization|(?:set-)?cookie2?|x-[\w-]{0,40}(?:token|key|auth)[\w-]{0,40}"
_HEADER_ITEM = re.compile(  # of a mapping or a pair as Python and JSON print them
    rf"(?P<name>(?P<mark>[\"'])(?:{_HEADER_NAME})(?P=mark)\s*[:,]\s*b?)"
    r"(?P<quote>[\"'])(?:\\.|(?!(?P=quote))[^\\])*(?P=quote)",
    re.IGNORECASE | re.DOTALL,
)
_HEADER_LINE = re.compile(  # up to its end, which may be printed as \r\n
    rf"((?:(?<![\w-])|(?<=\\n))(?:{_HEADER_NAME})[\"']?\s*:(?!\s*b?[\"']\*{{3}})\s*)(?:(?!\\[rn])[^\r\n])+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(\bbearer\s+)[\w.~+/=-]{6,}", re.IGNORECASE)
_ACCESS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")  # ids of AWS keys
# What every secret has beside it; most texts have none of these, and a plan redacts each of its locations.
_MARKS = (*_SECRET.split("|"), "@", "pot", "oh", "cookie", "bearer", "akia", "asia", "googlevideo")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TERMINAL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def redact(text: str) -> str:
    """Put *** for the secrets in a text, and leave the rest; what is redacted already stays as it is.

    Secrets are user:password before a host, values of query fields that are named like one or sign a URL, what
    Authorization and Cookie headers say, bearer tokens, and ids of AWS keys.
    """
    lower = text.lower()
    if not any(mark in lower for mark in _MARKS):
        return text
    text = _HEADER_ITEM.sub(rf"\g<name>\g<quote>{_HIDDEN}\g<quote>", text)
    text = _HEADER_LINE.sub(rf"\g<1>{_HIDDEN}", text)
    text = _BEARER.sub(rf"\g<1>{_HIDDEN}", text)
    text = _ACCESS_KEY.sub(_HIDDEN, text)
    text = _BARE_USER.sub(f"{_HIDDEN}@", _USER.sub(f"{_HIDDEN}@", text))
    return re.sub(r"\S+", lambda word: _without_grants(word[0]), _FIELD.sub(rf"\g<1>{_HIDDEN}", text))


def plain_words(text: str) -> str:
    """A tool's own words, whole: only terminal codes, secrets and outer white space are taken out."""
    return redact(_CONTROL.sub("\ufffd", _TERMINAL.sub("", text))).strip()


def _without_grants(word: str) -> str:
    if "googlevideo.com/" in word:
        word = _GRANT_IN_PATH.sub(rf"\g<1>{_HIDDEN}", word)
    return _GRANT.sub(rf"\g<1>{_HIDDEN}", word) if _SIGNED.search(word) else word
