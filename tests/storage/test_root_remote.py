"""What an S3 root asks of its server: parts, a fixed number of requests, and what the environment says."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage import remote
from storage.concurrency import concurrency
from storage.keys import KeyDocument, Recipe
from storage.manifests import commit, read_manifest
from storage.remote import MULTIPART_BYTES
from storage.retrying import retry_seconds
from storage.root import Root, StoreUnavailable, open_root
from tests.storage.proxy import Fault, Request, StoreProxy

ProxiedRoot = tuple[StoreProxy, Root]


def test_a_large_file_goes_up_in_parts_and_comes_back_equal(s3_proxy: ProxiedRoot, tmp_path: Path) -> None:
    proxy, root = s3_proxy
    data = random.Random(0).randbytes(1 << 20) * 65  # 65 MiB
    source = tmp_path / "video"
    source.write_bytes(data)
    root.upload(source, "videos/ab/large")
    assert root.filesystem.info(root.full("videos/ab/large"))["ETag"].strip('"').endswith("-5")  # 16 MiB each
    assert [request.query.get("partNumber") for request in proxy.requests if "uploads" in request.query] == [None]
    root.download("videos/ab/large", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    assert root.digest("videos/ab/large") == (hashlib.sha256(data).hexdigest(), len(data))


def test_large_bytes_go_up_in_parts_too(s3_root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MULTIPART_BYTES", 8 << 20)
    monkeypatch.setattr(remote, "_PART_BYTES", 5 << 20)
    data = random.Random(0).randbytes(11 << 20)
    s3_root.write_bytes("written", data)
    assert s3_root.create_bytes("created", data)
    for path in ("written", "created"):
        assert s3_root.filesystem.info(s3_root.full(path))["ETag"].strip('"').endswith("-3")
        assert s3_root.read_bytes(path) == data
    assert not s3_root.create_bytes("created", data[1:])


def test_a_file_of_the_limit_goes_up_in_one_request(
    s3_proxy: ProxiedRoot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a limit of a mebibyte: S3's own least part is 5 MiB, but for the last."""
    monkeypatch.setattr(remote, "MULTIPART_BYTES", 1 << 20)
    proxy, root = s3_proxy
    source = tmp_path / "video"
    source.write_bytes(b"x" * (1 << 20))
    proxy.requests.clear()
    root.upload(source, "videos/ab/small")
    root.write_bytes("videos/ab/bytes", b"x" * (1 << 20))
    assert [(request.method, request.query) for request in proxy.requests] == [("PUT", {}), ("PUT", {})]
    assert "-" not in root.filesystem.info(root.full("videos/ab/small"))["ETag"]
    assert MULTIPART_BYTES == 64 << 20


@pytest.mark.parametrize(("size", "parts"), [(65 << 20, 5), (160 << 30, 10_000), (1 << 40, 10_000)])
def test_parts_stay_within_the_number_that_s3_takes(size: int, parts: int) -> None:
    def put_file(source: str, full: str, chunksize: int = 0, max_concurrency: int = 0) -> None: ...

    options = remote._parts(put_file, size)
    assert -(-size // options["chunksize"]) <= parts
    assert options["max_concurrency"] == concurrency()


def test_a_file_system_is_not_given_options_that_it_does_not_know() -> None:
    def put_file(source: str, full: str, **options: int) -> None: ...

    assert remote._parts(put_file, 65 << 20) == {}


def test_every_operation_costs_a_fixed_number_of_requests(s3_proxy: ProxiedRoot) -> None:
    proxy, root = s3_proxy
    root.write_bytes("track/key/manifest.json", b"{}")

    def requests(operation: Callable[[], object]) -> list[str]:
        proxy.requests.clear()
        operation()
        return [f"{request.method} {'list' if request.is_listing else 'object'}" for request in proxy.requests]

    path = "track/key/manifest.json"
    assert requests(lambda: root.read_bytes(path)) == ["GET object"]
    assert requests(lambda: root.read_range(path, 0, 1)) == ["GET object"]
    assert requests(lambda: root.write_bytes("file", b"data")) == ["PUT object"]
    assert requests(lambda: root.create_bytes("new", b"data")) == ["PUT object"]
    assert requests(lambda: root.exists(path)) == ["HEAD object"]
    assert requests(lambda: root.size(path)) == ["HEAD object"]
    assert requests(lambda: root.modified(path)) == ["HEAD object"]
    assert requests(lambda: root.remove("new")) == ["DELETE object"]
    assert requests(lambda: list(root.walk("track"))) == ["GET list"]


def test_no_hot_path_lists_a_bucket_or_grows_with_it(s3_proxy: ProxiedRoot, fresh_clients: None) -> None:
    proxy, root = s3_proxy
    counts = []
    for round_number in range(2):
        proxy.requests.clear()
        opened = open_root(root.url + "/" * round_number)  # another URL of the same place: one object a URL
        for operation in _hot_path(opened, f"round {round_number}"):
            operation()
        listings = [request for request in proxy.requests if request.is_listing]
        assert all(len(request.query["prefix"]) > len(root.base.split("/", 1)[1]) for request in listings)
        assert all(request.query.get("delimiter") == "/" for request in listings)
        counts.append(len(proxy.requests))
        for number in range(40):  # what others wrote in between
            root.write_bytes(f"track/{number:064x}/manifest.json", b"{}")
    assert counts[0] == counts[1]


def _hot_path(root: Root, round_name: str) -> Iterator[Callable[[], object]]:
    """What a run does for one unit, beside its work."""
    document = KeyDocument(Recipe("track", 1), inputs={"video": round_name})
    yield lambda: read_manifest(root, "track", document.key)
    yield lambda: root.exists(f"videos/ab/{round_name}")
    yield lambda: root.write_bytes(f"videos/ab/{round_name}", b"video")
    yield lambda: commit(root, document, {"tracks.bin": b"tracks"})
    yield lambda: read_manifest(root, "track", document.key)
    yield lambda: root.names(f"datasets/none of {round_name}")


def test_a_missing_folder_does_not_list_the_folder_above_it(s3_proxy: ProxiedRoot) -> None:
    proxy, root = s3_proxy
    root.write_bytes("track/key/manifest.json", b"{}")
    proxy.requests.clear()
    assert root.names("track/none") == []
    assert [request.query["prefix"] for request in proxy.requests if request.is_listing] == [
        f"{root.base.split('/', 1)[1]}/track/none/"
    ]


def test_endpoint_region_and_credentials_come_from_the_environment(
    s3_proxy: ProxiedRoot, fresh_clients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, root = s3_proxy
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "for a while")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-3")
    proxy.requests.clear()
    open_root(root.url + "/other").write_bytes("file", b"data")
    assert [request.method for request in proxy.requests] == ["HEAD", "PUT"]
    for request in proxy.requests:
        assert "Credential=someone/" in request.headers["authorization"]
        assert "/eu-west-3/s3/" in request.headers["authorization"]
        assert request.headers["x-amz-security-token"] == "for a while"


@pytest.mark.parametrize(("attempts", "mode"), [("1", ""), ("2", "standard"), ("4", "legacy")])
def test_attempts_and_mode_of_retries_come_from_the_environment(
    s3_proxy: ProxiedRoot,
    fresh_clients: None,
    no_pauses: list[float],
    monkeypatch: pytest.MonkeyPatch,
    attempts: str,
    mode: str,
) -> None:
    proxy, root = s3_proxy
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", attempts)
    monkeypatch.setenv("AWS_RETRY_MODE", mode) if mode else monkeypatch.delenv("AWS_RETRY_MODE", raising=False)
    other = open_root(root.url + "/other")
    assert other.filesystem.s3.meta.config.retries["mode"] == (mode or "standard")
    proxy.requests.clear()
    proxy.faults.append(Fault(503, times=100, code="SlowDown"))
    monkeypatch.setattr("storage.retrying.retry_seconds", lambda: 0.0)
    with pytest.raises(StoreUnavailable, match="failed 1 times"):
        other.read_bytes("file")
    assert len(proxy.requests) == int(attempts)


def test_a_configuration_file_chooses_the_retries_too(
    s3_proxy: ProxiedRoot, fresh_clients: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, root = s3_proxy
    (tmp_path / "config").write_text("[default]\nretry_mode = adaptive\nmax_attempts = 7\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    retries = open_root(root.url + "/other").filesystem.s3.meta.config.retries
    assert (retries["mode"], retries["total_max_attempts"]) == ("adaptive", 7)


@pytest.mark.parametrize("text", ["-1", "soon", "nan", "inf"])
def test_a_wrong_time_for_retries_is_one_clear_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_RETRY_SECONDS", text)
    with pytest.raises(ValueError, match=r"TRITRACK_RETRY_SECONDS is .* seconds from 0 on"):
        retry_seconds.__wrapped__()
    monkeypatch.setenv("TRITRACK_RETRY_SECONDS", "2.5")
    assert retry_seconds.__wrapped__() == 2.5


def test_requests_are_told_apart() -> None:
    assert Request("GET", "/bucket", {"list-type": "2"}, {}).is_listing
    assert Request("GET", "/bucket", {}, {}).is_listing
    assert not Request("HEAD", "/bucket", {}, {}).is_listing
    assert not Request("GET", "/bucket/key", {}, {}).is_listing
