"""Connecting to a Ray cluster, with a stand-in for Ray: what does not answer, and who hears SIGTERM."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.ray_cluster import connected

ADDRESS = "ray://head.example:10001"
Stand = Callable[[int], list[str]]


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """Puts a Ray in place that refuses so many connections; gives what it is asked."""
    before = signal.getsignal(signal.SIGTERM)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_TRAIN_V2_ENABLED", "RAY_DISABLE_IMPORT_WARNING"):
        monkeypatch.setenv(name, "1")  # so that what the program sets is taken back
    monkeypatch.setenv("RAY_ADDRESS", ADDRESS)

    def stand(refusals: int) -> list[str]:
        asked: list[str] = []

        def init(address: str, **_: Any) -> None:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Ray takes it, whatever comes of the connection
            asked.append(address)
            if len(asked) <= refusals:
                raise ConnectionError("ray client connection timeout\nmore words")

        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, shutdown=lambda: asked.append("shutdown")))
        return asked

    yield stand
    signal.signal(signal.SIGTERM, before)


def test_who_listened_to_sigterm_does_so_again_and_the_cluster_is_left(stand_in: Stand) -> None:
    asked = stand_in(0)

    def cancel(number: int, frame: object) -> None:
        """As Prefect listens for a cancellation."""

    signal.signal(signal.SIGTERM, cancel)
    with connected(1):
        assert signal.getsignal(signal.SIGTERM) is cancel
    assert asked == [ADDRESS, "shutdown"]


def test_a_head_that_is_late_is_asked_again(stand_in: Stand, caplog: pytest.LogCaptureFixture) -> None:
    asked = stand_in(2)
    with connected(1):
        assert asked == [ADDRESS] * 3
    assert caplog.text.count("does not answer (ray client connection timeout), it is asked again") == 2


def test_a_cluster_that_never_answers_is_told_in_one_line(stand_in: Stand) -> None:
    stand_in(9)
    words = rf"^RAY_ADDRESS: no Ray cluster answers at {ADDRESS} \(ray client connection timeout\)$"
    with pytest.raises(ValueError, match=words), connected(1):
        pass
