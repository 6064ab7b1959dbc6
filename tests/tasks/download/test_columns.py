"""Columns: names and units that are ours, whatever a table calls them, and the bounds of the rest."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.download.columns import MAX_COLUMNS, MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS, given_text, layout


def said(**row: object) -> dict[str, Any]:
    table = layout(("url", *row))
    return dict(json.loads(given_text(table, ("https://e.com", *row.values())) or "{}"))


@pytest.mark.parametrize(
    ("names", "location"),
    [
        (("title", "URL "), 1),
        (("source", "path", "Location"), 2),
        (("url", "webpage_url"), 1),
        (("file", "link"), 1),
        (("clip",), 0),
        (("clip", "title"), None),
        ((), None),
    ],
)
def test_the_location_is_found_by_name(names: tuple[str, ...], location: int | None) -> None:
    assert layout(names).location == location


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("83", 83.0), (" 83.5 ", 83.5), ("1:23", 83.0), ("01:02:03", 3723.0), ("90:00", 5400.0), ("0:01.5", 1.5),
        ("PT1H2M3S", 3723.0), ("PT4.5S", 4.5), (83, 83.0), (0.5, 0.5), (timedelta(minutes=1), 60.0),
    ],
)  # fmt: skip
def test_durations_are_seconds(written: object, seconds: float) -> None:
    assert said(Duration=written) == {"duration_seconds": seconds}


@pytest.mark.parametrize("written", ["n/a", "-1", "1:2:3:4", "PT", "1e9", "٣"])
def test_what_is_no_duration_is_kept_as_it_is_written(written: str) -> None:
    assert said(Duration=written) == {"Duration": written}
    assert said(duration_seconds=written) == {}  # our own name holds nothing but seconds


@pytest.mark.parametrize("written", [-1, float("nan"), float("inf"), 1e12, None, "", [1], {"a": 1}, b"x"])
def test_what_says_nothing_is_left_out(written: object) -> None:
    assert said(duration_seconds=written, height_px=written, title=None) == {}


def test_heights_and_ages_are_whole_numbers() -> None:
    assert said(height="720p", age_limit="18+") == {"height_px": 720, "age_limit": 18}
    assert said(height=720.0, age_limit=0) == {"height_px": 720, "age_limit": 0}
    assert said(height="4K") == {"height": "4K"}


def test_the_best_column_of_a_fact_counts() -> None:
    assert said(author="c", channel="b", uploader="a") == {"uploader": "a", "channel": "b", "author": "c"}
    assert said(author="c", channel="", uploader=None) == {"uploader": "c"}
    assert said(license="CC BY", licence="CC0") == {"licence": "CC0", "license": "CC BY"}


def test_texts_are_one_line_without_secrets() -> None:
    assert said(title="a\n\tb\x1b[0m\ud800c") == {"title": "a b [0m c"}
    assert said(page="https://u:pw@e.com/?token=abc") == {"page": "https://***@e.com/?token=***"}


def test_bounds() -> None:
    row = {f"c{number:03}": number for number in range(100)} | {"title": "t" * 10_000, "n" * 100: "x"}
    found = said(**row)
    assert len(found) == MAX_COLUMNS
    assert found["title"] == "t" * MAX_VALUE_CHARACTERS
    assert max(map(len, said(**{"n" * 100: "x"}))) == MAX_NAME_CHARACTERS
    assert said(**{"": "no name", " ": "x"}) == {}


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.lists(st.integers())


@given(
    st.dictionaries(st.text(max_size=2) | st.sampled_from(["title", "Title ", "duration", "height"]), CELLS),
    st.randoms(),
)
def test_the_order_of_the_columns_says_nothing(row: dict[str, object], random: Any) -> None:
    shuffled = list(row.items())
    random.shuffle(shuffled)
    one = given_text(layout(("url", *row)), ("x", *row.values()))
    other = given_text(layout(("url", *dict(shuffled))), ("x", *dict(shuffled).values()))
    assert one == other
    one.encode()
    assert one == "" or json.dumps(json.loads(one), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == one
