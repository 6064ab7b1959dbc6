"""Stages over a Ray cluster of two nodes on this machine: what a node's death costs, and what a pool there keeps."""

from __future__ import annotations

import importlib.util
import ipaddress
import logging
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.node import alike
from storage.manifests import read_manifest
from storage.root import Root, open_root
from tasks.limits import Limits
from tasks.pool import Call
from tasks.ray_pool import RayPool
from tests.flows.conftest import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),  # a cluster starts a dozen processes
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="no Ray: pip install 'tritrack[ray]'"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head node with one CPU, reached by RAY_ADDRESS over the loopback alone."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        for name, value in {
            "RAY_TMPDIR": folder,
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
        }.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        made.shutdown()


@pytest.mark.usefixtures("harness")
def test_a_node_that_dies_amid_tracking_costs_nothing(
    cluster: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import LogSort

    from flows.download import download
    from flows.track import track

    second = cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
    here, there = tmp_path / "local", tmp_path / "ray"
    small = {"track_patch_px": 40, "track_working_height_px": 120, "track_gap_frames": 12}
    download(root=str(here), sources=str(clips))
    shutil.copytree(here, there)
    track(root=str(here), **small)
    hand, killed = RayPool._hand, list[int]()

    def hand_and_kill(pool: RayPool, index: int, call: Call) -> None:
        """The second node dies with the first video that it is given."""
        place = pool._free[-1]
        hand(pool, index, call)
        if second.node_id[:8] in place.node:
            killed.append(index)
            cluster.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(RayPool, "_hand", hand_and_kill)
    done = track(root=str(there), execution_runner="ray", **small)
    assert len(killed) == 1
    assert (done["committed"] + done["cached"], done["failed"]) == (6, 0)
    expected, made = open_root(str(here)), open_root(str(there))
    keys = made.names("track")
    assert keys == expected.names("track")
    for key in keys:
        assert _unit(made, key) == _unit(expected, key)

    def is_told() -> bool:
        """The run's log in Prefect tells of the loss, and has what the workers logged on their nodes."""
        with get_client(sync_client=True) as client:
            logs = client.read_logs(limit=200, sort=LogSort.TIMESTAMP_DESC)
        losses = [log for log in logs if f"{second.node_id[:8]}) was lost" in log.message and log.task_run_id]
        tracks = Counter(log.flow_run_id for log in logs if log.name == "tasks.track.video")
        return len(losses) == 1 and tracks[losses[0].flow_run_id] >= len(keys) - 1

    wait_until(is_told, 240)


def test_a_pool_there_keeps_what_a_pool_here_does_and_refuses_a_node_that_does_not_see_a_path(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [Call("tests.workers:double", (n,)) for n in range(4)]
    calls += [
        Call("tests.workers:drop", ("gone",)),
        Call("tests.workers:die", (str(tmp_path / "once"), 1)),
        Call("tests.workers:die", (str(tmp_path / "always"), 99)),
        Call("tests.workers:fill_memory", (10**9,)),
    ]
    first = (alike([str(tmp_path)]), Call("tests.workers:sleep_and_tell", (str(tmp_path), 0.0)))
    with RayPool(2, Limits(memory_bytes=200_000_000), first=first) as pool:
        with caplog.at_level(logging.INFO, "tasks"):
            replies = dict(pool.run(calls))
        reasons = {index: reply.dropped.reason for index, reply in replies.items() if reply.dropped}
        assert [replies[index].value for index in (0, 1, 2, 3, 5)] == [0, 2, 4, 6, "survived"]
        assert reasons == {4: "asked_to", 6: "worker_died", 7: "memory_limit"}
        assert sorted(line for line in caplog.messages if line.startswith("doubled")) == [
            f"doubled {n}" for n in range(4)
        ]
        assert len([path for path in tmp_path.iterdir() if path.name.isdigit()]) == 1, "the cluster has room for one"
        with pytest.raises(ZeroDivisionError, match="a programming error"):
            list(pool.run([Call("tests.workers:fail", ())]))
    blind = RayPool(1, first=(alike([str(tmp_path / "elsewhere")]),))
    with blind, pytest.raises(ValueError, match=r"^ray: node .* does not see .*elsewhere, .* execution.runner=local$"):
        list(blind.run(calls[:1]))


def test_a_cluster_of_its_own_is_reached_from_this_machine_alone_and_ends_with_a_killed_parent(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys
        from tasks.pool import Call
        from tasks.ray_pool import RayPool
        with RayPool(1) as pool:
            list(pool.run([Call("tests.workers:sleep_and_tell", (sys.argv[1], 600.0))]))
        """
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=environment) as parent:
        try:
            wait_until(lambda: list(tmp_path.iterdir()), 120)
            family = psutil.Process(parent.pid).children(recursive=True)
            listening = [
                connection.laddr.ip
                for process in (psutil.Process(parent.pid), *family)
                for connection in process.net_connections()
                if connection.status == psutil.CONN_LISTEN
            ]
        finally:
            os.kill(parent.pid, signal.SIGKILL)
    assert {ipaddress.ip_address(ip.removeprefix("::ffff:")).is_loopback for ip in listening} == {True}
    _, alive = psutil.wait_procs(family, timeout=60)
    assert alive == []


def _unit(root: Root, key: str) -> tuple[Any, ...]:
    """All of a unit but when and how fast it was made."""
    manifest = read_manifest(root, "track", key)
    assert manifest is not None
    return manifest.document, manifest.files, manifest.counts, manifest.facts
