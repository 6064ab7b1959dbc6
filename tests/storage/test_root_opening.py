"""Roots that cannot be used: one clear line with the remedy each, and nothing is made or changed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from storage.root import Root, RootError, open_root
from tests.storage.proxy import Fault, StoreProxy

PROJECT = Path(__file__).resolve().parents[2]
ProxiedRoot = tuple[StoreProxy, Root]

OPEN = """
import os, sys, time
from storage.root import RootError, open_root
if sys.argv[2:] == ["as nobody"] and os.geteuid() == 0:
    os.setuid(65534)  # the administrator may write everywhere
try:
    open_root(sys.argv[1]).write_bytes("track/file", b"data")
except RootError as error:
    print(error)
"""


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that everyone may enter and read, and nobody write; pytest's own is closed to other users."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        folder = Path(name, "closed")
        folder.mkdir()
        (folder / "kept").write_text("kept")
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_may_not_be_written_is_one_clear_line(closed_folder: Path) -> None:
    line = _open_in_child(str(closed_folder), "as nobody")
    assert line == f"root: {str(closed_folder)!r} is not writable; choose a folder that you may write to"
    line = _open_in_child(str(closed_folder / "new" / "root"), "as nobody")
    assert "cannot be made (Permission denied); choose a folder" in line
    assert [path.name for path in closed_folder.iterdir()] == ["kept"]


def test_a_folder_within_a_root_that_may_not_be_written_is_one_clear_line(closed_folder: Path) -> None:
    root = closed_folder.parent / "root"
    root.mkdir()
    root.chmod(0o777)
    (root / "track").symlink_to(closed_folder)
    line = _open_in_child(str(root), "as nobody")
    assert (
        line == f"root: {root}/track/file is refused (Permission denied); make it readable and writable for this user"
    )
    assert [path.name for path in closed_folder.iterdir()] == ["kept"]


def test_a_root_below_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _assert_refused(str(tmp_path / "file" / "root"), r"cannot be made .*choose a folder")


def test_a_root_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content")
    _assert_refused(str(tmp_path / "file"), "is a file; choose a folder")
    assert (tmp_path / "file").read_text() == "content"


@pytest.mark.parametrize("url", ["", "nonsense://bucket/prefix", "s3x://bucket", "://x", "s3:/bucket/prefix"])
def test_an_unknown_scheme_is_one_clear_line(url: str) -> None:
    _assert_refused(url, "give a folder")


@pytest.mark.parametrize(
    ("scheme", "module", "package"),
    [("gs", "gcsfs", "gcsfs"), ("abfs", "adlfs", "adlfs"), ("smb", "smbclient", "smbprotocol")],
)
def test_a_scheme_whose_package_is_missing_names_it(
    scheme: str, module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    _assert_refused(
        f"{scheme}://bucket/prefix", rf"needs a package that is not installed .*run: pip install {package}$"
    )


def test_a_missing_bucket_is_one_clear_line(s3_proxy: ProxiedRoot, fresh_clients: None) -> None:
    _assert_refused("s3://no-such-bucket/root", "bucket 'no-such-bucket' does not exist .*make it first")
    _assert_nothing_written(s3_proxy[0])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidAccessKeyId", "refuses the credentials .*set AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", "refuses the credentials .*set AWS_ACCESS_KEY_ID"),
        ("AccessDenied", "refuses the credentials .*that may read, write, list"),
        ("ExpiredToken", "refuses the credentials .*set AWS_ACCESS_KEY_ID"),
    ],
)
def test_wrong_credentials_are_one_clear_line(
    s3_proxy: ProxiedRoot, fresh_clients: None, code: str, words: str
) -> None:
    proxy, _ = s3_proxy
    proxy.faults.append(Fault(403, times=100, code=code))
    _assert_refused(f"s3://some-bucket/{code}", words)
    assert len(proxy.requests) == 2  # asked once, and once more for the reason; never again and again
    _assert_nothing_written(proxy)


def test_credentials_that_are_bound_to_a_prefix_will_do(s3_proxy: ProxiedRoot, fresh_clients: None) -> None:
    """They may not ask for the bucket, but list what lies below the root."""
    proxy, root = s3_proxy
    proxy.faults.append(
        Fault(
            403,
            times=100,
            code="AccessDenied",
            matches=lambda request: (
                request.path.count("/") < 2
                and not request.query.get("prefix", "").startswith(root.base.split("/", 1)[1])
            ),
        )
    )
    other = open_root(root.url)
    other.write_bytes("file", b"data")
    assert other.read_bytes("file") == b"data"


def test_a_store_that_fails_for_a_moment_is_opened_all_the_same(
    s3_proxy: ProxiedRoot, fresh_clients: None, no_pauses: list[float]
) -> None:
    proxy, root = s3_proxy
    proxy.faults.append(Fault(503, times=4, code="SlowDown"))
    assert open_root(root.url).names("") == []


def test_a_store_that_never_answers_is_one_clear_line(
    s3_proxy: ProxiedRoot, fresh_clients: None, no_pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.opening._OPEN_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr("storage.opening._OPEN_SECONDS", 0.0)
    s3_proxy[0].faults.append(Fault("silent", times=100))
    _assert_refused("s3://silent-bucket/root", r"cannot be reached \(no answer in 0.2 s\); check AWS_ENDPOINT_URL")


@pytest.mark.parametrize(
    ("url", "words"),
    [("s3://", "names no bucket; give s3://bucket/prefix"), ("s3://No bucket!/x", "'No bucket!' is no bucket name")],
)
def test_a_url_without_a_bucket_is_one_clear_line(fresh_clients: None, url: str, words: str) -> None:
    _assert_refused(url, words)


NO_SERVER = "http://127.0.0.1:1"
KEYS = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_ENDPOINT_URL": NO_SERVER, **KEYS}, "cannot be reached"),
        ({"AWS_ENDPOINT_URL": NO_SERVER}, "set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": NO_SERVER, "AWS_ACCESS_KEY_ID": "x"}, "set AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": "no url", **KEYS}, "check AWS_ENDPOINT"),
        ({"AWS_ENDPOINT_URL": NO_SERVER, "AWS_PROFILE": "nobody", **KEYS}, "check AWS_PROFILE"),
        ({"AWS_ENDPOINT_URL": NO_SERVER, "TRITRACK_CONCURRENCY": "none", **KEYS}, "TRITRACK_CONCURRENCY"),
    ],
    ids=["unreachable", "no credentials", "half a credential", "bad endpoint", "no such profile", "bad setting"],
)
def test_a_store_that_cannot_be_used_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], words: str
) -> None:
    from s3fs import S3FileSystem

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    places = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    quick = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in (places | quick | settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(S3FileSystem, "cachable", False)
    monkeypatch.setattr("storage.opening._OPEN_SECONDS", 0.0)
    monkeypatch.setattr("storage.opening.concurrency", _concurrency_now)
    with pytest.raises(ValueError, match=words) as caught:
        open_root("s3://bucket/root")
    assert "\n" not in str(caught.value)


def _concurrency_now() -> int:
    from storage.concurrency import concurrency

    return concurrency.__wrapped__()


def test_any_other_store_that_fails_at_once_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every cloud's library has its own errors; here those of a file system that is in none of our lists."""
    from fsspec.spec import AbstractFileSystem

    class Broken(AbstractFileSystem):
        protocol = "broken"
        cachable = False

        def info(self, path: str, **_: object) -> dict[str, object]:
            raise RuntimeError(f"no token\nfor {path}")

    fsspec.register_implementation("broken", Broken, clobber=True)
    _assert_refused("broken://bucket/root", r"cannot be opened \(no token for bucket/root\); check its address")


def _assert_refused(url: str, words: str) -> None:
    with pytest.raises(RootError, match=words) as caught:
        open_root(url)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("root: ")


def _assert_nothing_written(proxy: StoreProxy) -> None:
    assert {request.method for request in proxy.requests} <= {"HEAD", "GET"}


def _open_in_child(url: str, *arguments: str) -> str:
    command = [sys.executable, "-c", OPEN, url, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=PROJECT)
    (line,) = done.stdout.splitlines()
    return line
