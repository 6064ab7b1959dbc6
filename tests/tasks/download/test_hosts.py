"""What a host bears: budgets, back-off, and which locations ask one host."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.download.hosts import HostState, claim, close, from_record, host_of, register_of, reopen, room_at, to_record


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://www.youtube.com/watch?v=abc", "youtube.com"),
        ("https://youtu.be/abc", "youtube.com"),
        ("https://m.youtube.com/watch?v=abc", "youtube.com"),
        ("https://www.youtube-nocookie.com/embed/abc", "youtube.com"),
        ("ytsearch20:cats", "youtube.com"),
        ("ytsearchall:cats", "youtube.com"),
        ("ytsearchdate5:cats", "youtube.com"),
        ("https://notyoutube.com/a", "notyoutube.com"),
        ("https://Videos.Example/a.mp4", "videos.example"),
        ("https://videos.example:8443/a.mp4", "videos.example:8443"),
        ("https://user:word@videos.example/a.mp4", "videos.example"),
        ("http://[::1]:80/a", "::1:80"),
        ("http://[broken/a", ""),
        ("http://a.example:port/a", ""),
        ("/home/a.mp4", ""),
        ("s3://bucket/a.mp4", ""),
    ],
)
def test_host_of(location: str, host: str) -> None:
    assert host_of(location) == host


@given(st.lists(st.tuples(st.floats(0, 8000), st.integers(1, 40)), max_size=30), st.integers(1, 50))
def test_no_hour_grants_more_than_its_budget(claims: list[tuple[float, int]], per_hour: int) -> None:
    state, granted = HostState(), list[tuple[float, int]]()
    for now, wanted in sorted(claims):
        state, number = claim(state, now, wanted, per_hour)
        granted.append((now, number))
        assert 0 <= number <= wanted
        assert sum(number for time, number in granted if now - 3600 < time) <= per_hour
        if number == 0:
            assert now < room_at(state, now) <= now + 3600
            assert claim(state, room_at(state, now) + 0.001, 1, per_hour)[1] == 1
        assert from_record(to_record(state, "a.example")) == state


def test_each_refusal_lasts_longer_and_an_answer_ends_them() -> None:
    state, now, waits = HostState(), 1000.0, []
    for _ in range(12):
        state = close(state, now, "429", 60, 0, 0.0)
        waits.append(state.closed_until - now)
        now = state.closed_until
    assert waits[:4] == [60, 120, 240, 480]
    assert waits[-1] == 6 * 3600
    assert reopen(state) == HostState()


def test_what_the_host_asks_for_is_kept_to_within_a_day() -> None:
    assert close(HostState(), 0.0, "429", 1, 500, 0.0).closed_until == 500
    assert close(HostState(), 0.0, "429", 1, 1e9, 0.0).closed_until == 24 * 3600
    assert 500 < close(HostState(), 0.0, "429", 1, 500, 0.9).closed_until <= 550


def test_a_register_is_named_by_a_digest() -> None:
    assert register_of("../../etc").startswith("state/hosts/")
    assert ".." not in register_of("../../etc")
