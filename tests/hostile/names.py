"""Names and locations: in URLs, of local files, and what is no regular file at all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.answers import respond
from tests.hostile.clips import clip
from tests.hostile.records import Place, Specimen

_KEPT = frozenset({"kept"})
_GONE = frozenset({"permanent"})
_NAMES = {
    "line": "a\nb.mp4",
    "right to left": "clip\u202e4pm.exe",
    "snowman": "☃ ❄ .mp4",
    "combining": "e\u0301" * 40 + ".mp4",
    "template": "%(title)s %(id)s.%(ext)s",
    "template that computes": "%(__import__('os').system('touch x'))s.mp4",
    "option": "--exec=touch tritrack-was-here.mp4",
    "command": "$(touch tritrack-was-here);`id`|&.mp4",
    "quotes": "'\"\\.mp4",
    "colon": "a:b.mp4",
    "protocol": "file:clip.mp4",
    "joined": "concat:a|b.mp4",
    "pattern": "clip-%03d*?[a].mp4",
    "spaces": "  .mp4  ",
    "dots": "...mp4...",
    "no end": "clip",
    "end": "clip.sh",
    "255 bytes": "x" * 251 + ".mp4",
    "not UTF-8": os.fsdecode(b"\xff\xfe\x80.mp4"),
    "terminal": "\x1b]0;hello\x07\x1b[31m.mp4",
}


def odd_names(place: Place) -> Iterator[Specimen]:
    """Good videos under bad names, which must be kept, and the same names in URLs."""
    film = clip("mp4", "mpeg4")
    for name, file_name in _NAMES.items():
        allowed = _KEPT if file_name.isprintable() else _KEPT | {"permanent unusable"}  # a name that no list can hold
        yield Specimen(f"names/{name}", allowed, film, file_name=file_name)
    for name, path in (
        ("climbing", "../../../../etc/passwd"),
        ("climbing in percent", "%2e%2e/%2e%2e/%2e%2e/etc/passwd"),
        ("climbing with backslashes", "..\\..\\..\\etc\\passwd.mp4"),
        ("climbing in long UTF-8", "%c0%ae%c0%ae/etc/passwd"),
        ("NUL in percent", "clip.mp4%00.html"),
        ("an end of line in percent", "clip%0d%0aX-Injected:%201.mp4"),
        ("percent that is none", "%zz%.mp4"),
        ("right to left in percent", "%e2%80%ae4pm.exe"),
        ("300 letters", "x" * 300 + ".mp4"),
        ("60,000 letters", "x" * 60_000 + ".mp4"),
        ("a template", "%25(title)s.%25(ext)s"),
        ("letters as they are", "☃.mp4"),
        ("an end that runs", "clip.exe"),
        ("an end of a page", "clip.php?id=1&name=../../x.mp4"),
        ("an order to the tool", "clip.mp4#__youtubedl_smuggle=%7B%22http_headers%22%3A%7B%7D%7D"),
    ):
        answer = respond(film)
        yield Specimen(f"URL/{name}", _KEPT | _GONE | {"transient", "poison"}, answer=answer, file_name=path)
    yield from _locations(place)


def _locations(place: Place) -> Iterator[Specimen]:
    port = place.trap.rpartition(":")[2]
    for name, location, allowed in (
        ("a file by URL", f"file://{place.secret}", "permanent unsupported_scheme"),
        ("FTP", f"ftp://127.0.0.2:{port}/clip.mp4", "permanent unsupported_scheme"),
        ("a script", "javascript:alert(1)", "permanent unsupported_scheme"),
        ("data", "data:video/mp4;base64,AAAA", "permanent unsupported_scheme"),
        ("FFmpeg's joining", f"concat:{place.secret}|{place.secret}", "permanent unsupported_scheme"),
        ("FFmpeg's part of a file", f"subfile:{place.secret}", "permanent unsupported_scheme"),
        ("a pipe", "pipe:0", "permanent unsupported_scheme"),
        ("the trap", f"{place.trap}/clip.mp4", "permanent private_address"),
        ("the trap as a number", f"http://2130706434:{port}/clip.mp4", "permanent private_address"),
        ("the trap behind a user", f"http://127.0.0.1@127.0.0.2:{port}/clip.mp4", "permanent private_address"),
        ("the neighbour", f"{place.neighbour}/clip.mp4", "permanent private_address"),
        ("metadata of a cloud", "http://169.254.169.254/latest/meta-data/", "permanent private_address"),
        ("no host", "http:///clip.mp4", "permanent bad_url"),
        ("a broken host", "http://[::1/clip.mp4", "permanent bad_url"),
        ("an order to the tool", f"{place.trap}/#__youtubedl_smuggle=%7B%22a%22%3A1%7D", "permanent private_address"),
        ("an extractor of its own", f"generic:{place.trap}/clip.mp4", "permanent unsupported_scheme"),
    ):
        yield Specimen(f"location/{name}", frozenset({allowed}), location=location)


def odd_files(place: Place) -> Iterator[Specimen]:
    """Paths that are no regular file, made in the folder; raises OSError where the file system has none of them."""
    folder = Path(place.folder) / "odd"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "pipe.mp4")
    (folder / "loop.mp4").symlink_to("loop.mp4")
    (folder / "nowhere.mp4").symlink_to("absent")
    (folder / "device.mp4").symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    here = os.getcwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # a socket's path is of 108 bytes at most
        try:
            listener.bind("socket.mp4")
        finally:
            os.chdir(here)
    for name, path in (
        ("a pipe", f"{folder}/pipe.mp4"),
        ("a link to itself", f"{folder}/loop.mp4"),
        ("a link to nothing", f"{folder}/nowhere.mp4"),
        ("a link to endless zeros", f"{folder}/device.mp4"),
        ("a folder", f"{folder}/folder.mp4"),
        ("a socket", f"{folder}/socket.mp4"),
        ("the null device", "/dev/null"),
        ("memory of a process", "/proc/self/mem"),
        ("nothing there", f"{folder}/absent.mp4"),
        ("a file in a file", f"{place.secret}/clip.mp4"),
        ("NUL", f"{folder}/a\0.mp4"),
        ("300 letters", f"{folder}/{'x' * 300}.mp4"),
        ("5,000 folders", "/" + "x/" * 5_000 + "clip.mp4"),
    ):
        yield Specimen(f"files/{name}", _GONE | {"poison"}, location=path)
