"""What tests share: where the real data lies, and roots to write to."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flows  # noqa: F401  Prefect's settings, before a test file imports Prefect
from tests.real_data import real_data


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each worker's share begins with its part of the slow tests: one that took a slow one last would be waited for.

    `--dist worksteal` cuts the list into one run a worker, and steals from the ends.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    bounds = [len(quick) * worker // workers for worker in range(workers + 1)]
    items[:] = [
        item
        for worker, (begin, end) in enumerate(itertools.pairwise(bounds))
        for item in slow[worker::workers] + quick[begin:end]
    ]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (`TRITRACK_DATA`, or ../shared/data); the test is skipped where it is absent."""
    folder = real_data()
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set TRITRACK_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _shard_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remote shards are cached beside the tests' other files, not in the user's cache folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITRACK_CACHE", str(tmp_path_factory.mktemp("shard-cache")))
        yield


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3 server of this test run on a free port; the environment names it and its credentials."""
    from moto.server import ThreadedMotoServer  # over a second to import, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", "tests")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "tests")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield endpoint
    server.stop()


@pytest.fixture(scope="session")
def s3_root_url(s3_endpoint: str) -> Callable[[], str]:
    """Makes the URL of an empty root in a bucket of the test's S3 server; a new one at each call."""
    import s3fs

    s3fs.S3FileSystem().mkdir("tritrack-tests")
    numbers = itertools.count(1)
    return lambda: f"s3://tritrack-tests/root-{next(numbers)}"
