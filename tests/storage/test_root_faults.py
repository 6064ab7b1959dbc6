"""Every operation outlives what a store and a network do to it, and what lasts is told in one line."""

from __future__ import annotations

import errno
import pickle
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage import remote
from storage.retrying import RootError, StoreUnavailable, is_transient, persistently
from storage.root import Root, open_root
from tests.storage.proxy import Fault, StoreProxy

ProxiedRoot = tuple[StoreProxy, Root]
DATA = random.Random(3).randbytes(40_000)

# Each works on a root that holds DATA at folder/file, and answers True if all is as it should be.
OPERATIONS: dict[str, Callable[[Root, Path], bool]] = {
    "read_bytes": lambda root, _: root.read_bytes("folder/file") == DATA,
    "read_range": lambda root, _: root.read_range("folder/file", 10, 30_000) == DATA[10:30_010],
    "read_many": lambda root, _: list(root.read_many(["folder/file"])) == [("folder/file", DATA)],
    "digest": lambda root, _: root.digest("folder/file")[1] == len(DATA),
    "exists": lambda root, _: root.exists("folder/file") and not root.exists("folder/none"),
    "size": lambda root, _: root.size("folder/file") == len(DATA),
    "modified": lambda root, _: root.modified("folder/file").year >= 2024,
    "names": lambda root, _: root.names("folder") == ["file"],
    "walk": lambda root, _: [entry.path for entry in root.walk("folder")] == ["folder/file"],
    "write_bytes": lambda root, _: root.write_bytes("new", DATA) is None and root.read_bytes("new") == DATA,
    "create_bytes": lambda root, _: root.create_bytes("new", DATA) and root.read_bytes("new") == DATA,
    "remove": lambda root, _: root.remove("folder/file") is None and not root.exists("folder/file"),
    "upload": lambda root, tmp: root.upload(tmp / "source", "new") is None and root.read_bytes("new") == DATA,
    "download": lambda root, tmp: (
        root.download("folder/file", tmp / "copy") is None and (tmp / "copy").read_bytes() == DATA
    ),
}
# Five in a row outlast the three attempts of botocore.
FAULTS: dict[str, Callable[[], Fault]] = {
    "500": lambda: Fault(500, times=5),
    "503": lambda: Fault(503, times=5, code="SlowDown", headers={"Retry-After": "1"}),
    "reset": lambda: Fault("reset", times=5),
    "lost answer": lambda: Fault("lost", times=5),
    "cut answer": lambda: Fault("cut", times=2, matches=lambda request: request.method == "GET"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_outlives_every_fault(
    s3_proxy: ProxiedRoot, no_pauses: list[float], tmp_path: Path, operation: str, fault: str
) -> None:
    proxy, root = s3_proxy
    root.write_bytes("folder/file", DATA)
    (tmp_path / "source").write_bytes(DATA)
    proxy.faults.append(FAULTS[fault]())
    assert OPERATIONS[operation](root, tmp_path)
    assert proxy.faults[0].times == 0 or fault == "cut answer"  # not every operation has a GET


def test_a_silent_store_is_asked_again(
    s3_proxy: ProxiedRoot, fresh_clients: None, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, root = s3_proxy
    root.write_bytes("file", DATA)
    monkeypatch.setattr("storage.opening._S3_READ_SECONDS", 0.3)
    hasty = open_root(root.url)
    proxy.faults.append(Fault("silent", times=1))
    assert hasty.read_bytes("file") == DATA


def test_a_store_that_asks_for_a_pause_gets_it(s3_proxy: ProxiedRoot, no_pauses: list[float]) -> None:
    proxy, root = s3_proxy
    root.write_bytes("file", DATA)
    proxy.faults.append(Fault(503, times=3, code="SlowDown", headers={"Retry-After": "7"}))
    assert root.read_bytes("file") == DATA
    assert no_pauses == [7.0]


def test_faults_within_a_large_upload_repeat_a_part_and_not_the_file(
    s3_proxy: ProxiedRoot, no_pauses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, root = s3_proxy
    monkeypatch.setattr(remote, "MULTIPART_BYTES", 8 << 20)
    monkeypatch.setattr(remote, "_PART_BYTES", 5 << 20)
    data = random.Random(4).randbytes(11 << 20)
    (tmp_path / "source").write_bytes(data)
    proxy.faults += [
        Fault(500, times=1, matches=lambda request: request.query.get("partNumber") == "1"),
        Fault("lost", times=1, matches=lambda request: request.query.get("partNumber") == "3"),
    ]
    root.upload(tmp_path / "source", "large")
    assert root.read_bytes("large") == data
    sent = [request.query["partNumber"] for request in proxy.requests if "partNumber" in request.query]
    assert sorted(sent) == ["1", "1", "2", "3", "3"]
    assert sum("uploads" in request.query for request in proxy.requests) == 1


def test_a_large_upload_whose_last_answer_is_lost_still_stands(
    s3_proxy: ProxiedRoot, no_pauses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has finished it then and knows the upload no more; it goes up again."""
    proxy, root = s3_proxy
    monkeypatch.setattr(remote, "MULTIPART_BYTES", 8 << 20)
    monkeypatch.setattr(remote, "_PART_BYTES", 5 << 20)
    (tmp_path / "source").write_bytes(DATA * 250)
    proxy.faults.append(Fault("lost", matches=lambda request: request.method == "POST" and "uploadId" in request.query))
    root.upload(tmp_path / "source", "large")
    assert root.read_bytes("large") == DATA * 250


def test_a_download_that_cannot_end_leaves_nothing(
    s3_proxy: ProxiedRoot, no_pauses: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, root = s3_proxy
    root.write_bytes("file", DATA)
    monkeypatch.setattr("storage.retrying.retry_seconds", lambda: 0.0)
    proxy.faults.append(Fault("cut", times=1000, matches=lambda request: request.method == "GET"))
    with pytest.raises(
        StoreUnavailable, match=r"root: s3://.*/file failed 1 times .*what is committed is kept"
    ) as caught:
        root.download("file", tmp_path / "folder" / "copy")
    assert "\n" not in str(caught.value)
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_refused_write_is_one_clear_line(s3_proxy: ProxiedRoot, no_pauses: list[float]) -> None:
    proxy, root = s3_proxy
    proxy.faults.append(Fault(403, times=1000, code="AccessDenied", matches=lambda request: request.method == "PUT"))
    for write in (root.write_bytes, root.create_bytes):
        with pytest.raises(RootError, match=r"refuses the credentials .*that may read, write") as caught:
            write("file", b"data")
        assert "\n" not in str(caught.value)
        assert not isinstance(caught.value, StoreUnavailable)
    assert not root.exists("file")


def test_only_faults_of_the_moment_are_tried_again(no_pauses: list[float]) -> None:
    calls = []

    def fail(error: Exception) -> Callable[[], None]:
        def operation() -> None:
            calls.append(error)
            raise error

        return operation

    for error in (FileNotFoundError(2, "none"), OSError(errno.ENOSPC, "full"), KeyError("bug"), ValueError("bug")):
        calls.clear()
        with pytest.raises(type(error)):
            persistently(fail(error), "place")
        assert len(calls) == 1
    calls.clear()
    with pytest.raises(StoreUnavailable, match=r"place failed [0-9]+ times .*reset"):
        persistently(fail(ConnectionResetError(errno.ECONNRESET, "reset")), "place", seconds=0.001)
    with pytest.raises(StoreUnavailable):
        persistently(fail(FileNotFoundError(2, "none")), "place", seconds=0.0, also=(FileNotFoundError,))


def test_what_is_of_the_moment_is_known_by_class_and_number() -> None:
    import aiohttp
    import botocore.exceptions

    for error in (
        ConnectionResetError(),
        TimeoutError(),
        OSError(errno.EIO, "input/output"),
        OSError(errno.EBUSY, "SlowDown"),
        OSError(errno.ESTALE, "stale handle"),
        aiohttp.ClientPayloadError("cut"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="x"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="x"),
    ):
        assert is_transient(error), error
    request: Any = None
    for error in (
        OSError(errno.ENOSPC, "full"),
        OSError("no number"),
        IsADirectoryError(errno.EISDIR, "folder"),
        ValueError("x"),
        aiohttp.ClientResponseError(request, (), status=404),
        botocore.exceptions.ParamValidationError(report="x"),
    ):
        assert not is_transient(error), error
    assert is_transient(aiohttp.ClientResponseError(request, (), status=503))


class _LosesAnswers:
    """A file system that writes, and then loses the answer to its first `losses` writes."""

    def __init__(self, filesystem: Any, losses: int) -> None:
        self.filesystem = filesystem
        self.losses = losses

    def __getattr__(self, name: str) -> Any:
        return getattr(self.filesystem, name)

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        if mode == "create" and self.filesystem.exists(path):
            raise FileExistsError(path)
        self.filesystem.pipe_file(path, data)
        if self.losses:
            self.losses -= 1
            raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer")


@pytest.fixture
def losing_root(root: Root) -> Root:
    """Any root, over a file system that loses the answers to its first two writes."""
    return Root(_LosesAnswers(root.filesystem, losses=2), root.base, root.url)


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_creation_whose_answer_is_lost_is_ours(losing_root: Root, root: Root, no_pauses: list[float]) -> None:
    assert losing_root.create_bytes("state/one", b"mine")
    assert losing_root.filesystem.losses == 1  # once more, and the name was taken
    assert root.read_bytes("state/one") == b"mine"
    assert not losing_root.create_bytes("state/one", b"another's")
    assert root.read_bytes("state/one") == b"mine"


@pytest.mark.parametrize("root", ["memory", "s3"], indirect=True)
def test_a_name_that_another_took_is_not_ours_after_a_loss(
    losing_root: Root, root: Root, no_pauses: list[float]
) -> None:
    root.write_bytes("state/one", b"theirs")
    assert not losing_root.create_bytes("state/one", b"mine")
    assert root.read_bytes("state/one") == b"theirs"


def test_identical_bytes_are_a_success_for_both(root: Root) -> None:
    assert root.create_bytes("one", b"same")
    assert root.create_bytes("one", b"same")
    assert not root.create_bytes("one", b"other")


class _RefusesConditions(_LosesAnswers):
    """A store that knows no conditional write, and says so by `error`."""

    def __init__(self, filesystem: Any, error: Exception) -> None:
        super().__init__(filesystem, 0)
        self.error = error

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise self.error
        self.filesystem.pipe_file(path, data)


@pytest.mark.parametrize("error", [NotImplementedError("create"), OSError(errno.ENOSYS, "501"), TypeError("mode")])
def test_a_store_without_conditional_writes_is_written_and_read_back(s3_root: Root, error: Exception) -> None:
    root = Root(_RefusesConditions(s3_root.filesystem, error), s3_root.base, s3_root.url)
    assert root.create_bytes("one", b"first")
    assert not root.create_bytes("one", b"second")
    assert root.read_bytes("one") == b"first"


def test_a_store_that_does_not_name_the_failed_condition_is_understood(s3_proxy: ProxiedRoot) -> None:
    """Not every S3 says that it was If-None-Match."""
    proxy, root = s3_proxy
    root.write_bytes("one", b"first")
    proxy.faults.append(Fault(412, code="PreconditionFailed"))
    assert not root.create_bytes("one", b"second")
    assert root.read_bytes("one") == b"first"
    proxy.faults[:] = [Fault(400, code="InvalidArgument", matches=lambda request: request.method == "PUT")]
    with pytest.raises(OSError, match="as the test wants"):
        root.create_bytes("two", b"second")


def test_errors_cross_processes_whole() -> None:
    for error in (RootError("root: one line"), StoreUnavailable("root: one line")):
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), str(copy)) == (type(error), str(error))
