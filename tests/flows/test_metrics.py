"""The endpoint for Prometheus: what this process counts, and what processes count that it started."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import textwrap
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows import metrics

ROW = {
    "stage": "track", "outcome": "committed", "seconds": 2.0, "bytes_in": 10, "bytes_out": 5, "requests": 3,
}  # fmt: skip


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": "."},
    )  # fmt: skip
    return done.stdout


def _samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


_ASK = """
import urllib.request
with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
    print(answer.read().decode())
"""


def test_what_this_process_counts_is_told() -> None:
    told = _samples(
        _run(f"""
        from flows import metrics
        port = metrics.serve_metrics(0)
        for outcome in ("committed", "committed", "failed"):
            metrics.count_unit({ROW!r} | {{"outcome": outcome}})
        metrics.count_unit({{"stage": "track", "outcome": "pending", "bytes_in": 0, "bytes_out": 0}})
        metrics.tell_progress("track", 3, 8)
        {textwrap.indent(_ASK, " " * 8).strip()}
        """)
    )
    assert told[("tritrack_units_total", "committed", "track")] == 2
    assert told[("tritrack_units_total", "pending", "track")] == 1
    assert told[("tritrack_unit_seconds_sum", "track")] == 6.0
    assert told[("tritrack_unit_seconds_count", "track")] == 3
    assert told[("tritrack_bytes_total", "in", "track")] == 30
    assert told[("tritrack_store_requests_total", "track")] == 9
    assert told[("tritrack_stage_units_done", "track")] == 3
    assert told[("tritrack_stage_units_planned", "track")] == 8


def test_a_worker_adds_up_what_its_children_counted_though_they_are_gone() -> None:
    told = _samples(
        _run(f"""
        import subprocess, sys
        from flows import metrics
        port = metrics.serve_metrics_of_children(0)
        child = "from flows import metrics; metrics.count_unit({ROW!r}); metrics.tell_progress('track', 1, 2)"
        for _ in range(2):
            subprocess.run([sys.executable, "-c", child], check=True)
        other = "from prometheus_client import Counter; Counter('prefect_events', 'of another').inc()"
        subprocess.run([sys.executable, "-c", other], check=True)
        {textwrap.indent(_ASK, " " * 8).strip()}
        """)
    )
    assert told[("tritrack_units_total", "committed", "track")] == 2
    assert told[("tritrack_stage_units_planned", "track")] == 2
    assert all(name[0].startswith("tritrack_") for name in told)


def test_it_listens_on_this_machine_alone_and_says_where_it_cannot() -> None:
    port = metrics.serve_metrics(0)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
    with socket.socket() as probe, pytest.raises(OSError, match="refused"):
        probe.connect(("127.0.0.2", port))
    with pytest.raises(ValueError, match=f"metrics-port: {port} cannot be listened on"):
        metrics.serve_metrics(port)
