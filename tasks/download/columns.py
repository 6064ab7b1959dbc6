"""Columns of a list: which one holds the location, and what the others say of a source, in our names and units."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from storage.keys import canonical_json
from tasks.download.redaction import redact

# In order: yt-dlp's own records hold a page's URL beside that of its media, which is void after some hours.
LOCATION_NAMES = (
    "webpage_url", "url", "location", "path", "source", "video_url", "uri", "link", "file",
)  # fmt: skip
MAX_COLUMNS, MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS = 32, 64, 500
"""Bounds of what is kept of one row: it stands in every version of the data set."""

_EXACT_INTEGER = 2**53  # above it readers of JSON differ
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_CLOCK = re.compile(r"(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{1,2}(?:\.[0-9]{1,12})?)")
_ISO_8601 = re.compile(r"PT(?:([0-9]{1,6})H)?(?:([0-9]{1,6})M)?(?:([0-9]{1,6}(?:\.[0-9]{1,12})?)S)?")  # YouTube's API
_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0*)?[p+]?")  # 720p, 18+, and whole numbers that a table made floats

Value = str | int | float | bool


@dataclass(frozen=True)
class Layout:
    """A table's columns. `location`: index of the column that names the source; None where no name fits.

    `others`: index, own name and our name (or nothing) of each other one, the best first whatever their order in the
    table: those that we know, then by name.
    """

    names: tuple[str, ...]
    location: int | None
    others: tuple[tuple[int, str, str], ...]


@functools.lru_cache(maxsize=256)
def layout(names: tuple[str, ...]) -> Layout:
    """What the columns of these names hold. A table's only column holds the location, whatever its name."""
    plain = [name.strip().lower() for name in names]
    found = [plain.index(name) for name in LOCATION_NAMES if name in plain]
    location = found[0] if found else 0 if len(names) == 1 else None
    others = [(index, _cut(name, MAX_NAME_CHARACTERS)) for index, name in enumerate(names) if index != location]
    ranked = sorted((_rank(plain[index]), name, names[index], index) for index, name in others if name)
    return Layout(names, location, tuple((index, name, _KNOWN.get(plain[index], "")) for _, name, _, index in ranked))


def told_columns(names: Sequence[str]) -> str:
    """A table's columns, for the message that none of them holds a location."""
    shown = ", ".join(_cut(name, MAX_NAME_CHARACTERS) or "(no name)" for name in names[:MAX_COLUMNS])
    more = f" and {len(names) - MAX_COLUMNS} more" if len(names) > MAX_COLUMNS else ""
    return f"{shown}{more}; call the one that holds the source {LOCATION_NAMES[1]}"


def given_text(table: Layout, row: Sequence[object]) -> str:
    """What a row says beside its location, as a canonical JSON object; nothing where it says nothing.

    Columns that we know come under our names and in our units: title, licence, uploader, duration_seconds, height_px,
    age_limit. Others keep their name and value, text or number; lists, objects and empty cells are left out.
    """
    record: dict[str, Value] = {}
    for index, name, ours in table.others:
        if len(record) == MAX_COLUMNS:
            break
        raw = row[index] if index < len(row) else None
        value = _READERS[ours](raw) if ours and ours not in record else None
        if value is not None:
            record[ours] = value
        elif name not in _READERS and name not in record and (value := _plain(raw)) is not None:
            record[name] = value
    return canonical_json(record).decode() if record else ""


def _rank(plain_name: str) -> int:
    """Columns that we know come first, the better names of one fact before the others."""
    return _ORDER.get(plain_name, len(_ORDER))


def _plain(raw: object) -> Value | None:
    if isinstance(raw, str):
        return _text(raw)
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, int):
        return raw if abs(raw) < _EXACT_INTEGER else str(raw)[:MAX_VALUE_CHARACTERS]
    if isinstance(raw, float):
        return raw if math.isfinite(raw) else None
    return str(raw) if isinstance(raw, Decimal) else None


def _text(raw: object) -> str | None:
    text = _plain(raw) if not isinstance(raw, str) else raw
    if text is None:
        return None
    cut = str(text)[: 8 * MAX_VALUE_CHARACTERS]  # redaction reads no megabytes
    return _cut(redact(cut) if "://" in cut else cut, MAX_VALUE_CHARACTERS) or None


def _cut(text: str, characters: int) -> str:
    return _BREAKS.sub(" ", text).strip()[:characters].rstrip()


def _seconds(raw: object) -> float | None:
    if isinstance(raw, timedelta):
        raw = raw.total_seconds()
    if isinstance(raw, (int, float, Decimal)) and not isinstance(raw, bool):
        return float(raw) if 0 <= raw < 1e9 else None
    text = raw.strip() if isinstance(raw, str) else ""
    if _NUMBER.fullmatch(text):
        return float(text)
    found = _CLOCK.fullmatch(text) or (_ISO_8601.fullmatch(text) if text[2:] else None)
    if found is None:
        return None
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return 3600 * hours + 60 * minutes + seconds


def _whole(raw: object) -> int | None:
    if isinstance(raw, (int, float, Decimal)) and not isinstance(raw, bool):
        return int(raw) if 0 <= raw < 1e9 else None
    found = _WHOLE.fullmatch(raw.strip().lower()) if isinstance(raw, str) else None
    return int(found[1]) if found else None


_READERS: dict[str, Callable[[object], Value | None]] = {
    "title": _text,
    "licence": _text,
    "uploader": _text,
    "duration_seconds": _seconds,
    "height_px": _whole,
    "age_limit": _whole,
}
_KNOWN = {
    "title": "title",
    "licence": "licence",
    "license": "licence",
    "uploader": "uploader",
    "channel": "uploader",
    "author": "uploader",
    "duration_seconds": "duration_seconds",
    "duration": "duration_seconds",
    "height_px": "height_px",
    "height": "height_px",
    "age_limit": "age_limit",
}
_ORDER = {name: rank for rank, name in enumerate(_KNOWN)}
