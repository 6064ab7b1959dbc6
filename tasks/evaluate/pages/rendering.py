"""Templates filled in: one self-contained page, in which everything but our own SVG is escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from tasks.evaluate.forest import amount, bounds, percent, points

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def render(template: str, page: Mapping[str, Any], **filters: Callable[[Any], str]) -> str:
    """A template of this folder filled in; `filters`: more than those that every page has, by name."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    of_scores: dict[str, Callable[..., str]] = {"amount": amount, "bounds": bounds}
    of_all = {"percent": percent, "points": points, "grouped": _grouped, "clean": clean_words}
    environment.filters |= of_all | of_scores | filters
    return environment.get_template(template).render(page)


def clean_words(text: str) -> str:
    """Text from outside without terminal colours, control characters and direction overrides; line breaks stay."""
    text = _ANSI.sub("", text)
    return "".join(
        character for character in text if character == "\n" or unicodedata.category(character) not in {"Cc", "Cf"}
    )


def _grouped(count: int) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{count:,}".replace(",", "\u2009")
