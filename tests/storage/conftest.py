"""Every kind of root that the storage contract is tested over."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.root import Root, open_root
from tests.storage.proxy import StoreProxy, store_proxy
from tests.storage.small_root import SmallRoot, build

_memory_roots = itertools.count(1)
_proxied_roots = itertools.count(1)


@pytest.fixture(params=["local", "memory", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Root:
    """An empty root: a local folder, memory:// or a bucket of the S3 server."""
    if request.param == "local":
        return open_root(str(tmp_path / "root"))
    if request.param == "memory":
        return open_root(f"memory://root-{next(_memory_roots)}")
    return open_root(request.getfixturevalue("s3_root_url")())


@pytest.fixture
def s3_root(s3_root_url: Callable[[], str]) -> Root:
    """An empty root on the S3 server."""
    return open_root(s3_root_url())


@pytest.fixture(scope="session")
def _proxied(s3_endpoint: str, s3_root_url: Callable[[], str]) -> Iterator[tuple[StoreProxy, Root]]:
    """A proxy in front of the S3 server, and a root that is reached through it; one of each, since a client is slow."""
    from s3fs import S3FileSystem

    url = s3_root_url()
    with store_proxy(s3_endpoint) as proxy:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(S3FileSystem, "cachable", False)
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            root = open_root(url)
        yield proxy, root


@pytest.fixture
def s3_proxy(_proxied: tuple[StoreProxy, Root]) -> tuple[StoreProxy, Root]:
    """A proxy in front of the S3 server, quiet yet, and an empty root that is reached through it alone."""
    proxy, root = _proxied
    proxy.faults.clear()
    proxy.requests.clear()
    name = next(_proxied_roots)
    return proxy, Root(root.filesystem, f"{root.base}/{name}", f"{root.url}/{name}")


@pytest.fixture
def fresh_clients(s3_proxy: tuple[StoreProxy, Root], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every root that the test opens gets its own client, which goes through the proxy."""
    from s3fs import S3FileSystem

    monkeypatch.setattr(S3FileSystem, "cachable", False)  # an instance keeps the environment that it began with
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_proxy[0].url)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Retries follow each other at once; the pauses of our own layer are written down."""
    from botocore.retries.standard import ExponentialBackoff

    paused: list[float] = []
    monkeypatch.setattr("storage.retrying.time.sleep", paused.append)
    monkeypatch.setattr("botocore.retryhandler.delay_exponential", lambda *_, **__: 0.0)
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0.0)
    return paused


@pytest.fixture
def small(root: Root) -> SmallRoot:
    """A small data set, committed on every kind of root."""
    return build(root)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> SmallRoot:
    """The small data set on local disk; tests take copies of it."""
    return build(open_root(str(tmp_path_factory.mktemp("built"))))


@pytest.fixture
def local(built: SmallRoot, tmp_path: Path) -> SmallRoot:
    """A copy on local disk: nothing of it waits for the disk, which a build does."""
    shutil.copytree(built.root.base, tmp_path / "small")
    return replace(built, root=open_root(str(tmp_path / "small")))
