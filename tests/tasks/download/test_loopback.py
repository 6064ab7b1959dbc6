"""The loopback server: the files of one folder, by ranges, and nothing else."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.download.loopback import serve_folder

DATA = bytes(range(256)) * 40


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a clip.mp4").write_bytes(DATA)
    (folder / "empty.mp4").touch()
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.mp4").symlink_to(tmp_path / "secret.txt")
    with serve_folder(folder) as url:
        yield url


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


def test_a_file_is_served_whole(server: str) -> None:
    status, headers, body = ask(server, "/sub/a%20clip.mp4?query=1")
    assert (status, headers["Content-Type"], body) == (200, "video/mp4", DATA)
    status, headers, body = ask(server, "/sub/a%20clip.mp4", "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(DATA)), b"")
    assert ask(server, "/empty.mp4")[::2] == (200, b"")


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("10000-", 10_000, len(DATA)),
        ("-7", len(DATA) - 7, len(DATA)),
        ("9-99999", 9, None),
    ],
)
def test_ranges(server: str, asked: str, start: int, stop: int | None) -> None:
    status, headers, body = ask(server, "/sub/a%20clip.mp4", Range=f"bytes={asked}")
    assert (status, body) == (206, DATA[start:stop])
    assert headers["Content-Range"] == f"bytes {start}-{(stop or len(DATA)) - 1}/{len(DATA)}"


def test_ranges_that_cannot_be_met(server: str) -> None:
    assert ask(server, "/sub/a%20clip.mp4", Range="bytes=99999-")[0] == 416
    assert ask(server, "/sub/a%20clip.mp4", Range="lines=1-2")[::2] == (200, DATA)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/sub", "/absent", "/../secret.txt", "/%2e%2e/secret.txt", "//etc/passwd", "/link.mp4", "/a%00b",
        "/sub/../../secret.txt",
    ],
)  # fmt: skip
def test_nothing_outside_the_folder(server: str, path: str) -> None:
    assert ask(server, path)[::2] == (404, b"")


def test_the_port_is_free_again(tmp_path: Path) -> None:
    with serve_folder(tmp_path) as url:
        port = int(url.rsplit(":", 1)[1])
    with serve_folder(tmp_path, port) as again:
        assert again == url
    with pytest.raises(FileNotFoundError), serve_folder(tmp_path / "absent"):
        pass
