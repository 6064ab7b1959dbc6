"""Files on local disk that appear whole or not at all, and folders that go with their last file."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from storage.walking import temporary_name

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK})  # exFAT, some network disks
_OPEN_ATTEMPTS = 10
_COPY_BYTES = 1 << 20


def blocks(path: Path) -> Iterator[bytes]:
    """A file's bytes in order, a mebibyte at a time."""
    with path.open("rb") as reader:
        while block := reader.read(_COPY_BYTES):
            yield block


def read_range(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on; fewer where the file ends before."""
    with path.open("rb") as reader:
        reader.seek(offset)
        return reader.read(size)


def write(target: Path, content: Iterable[bytes], *, durable: bool = True) -> None:
    """Write or replace a file, through a temporary beside it that is renamed; flushed to the disk where `durable`."""
    temporary = _write_temporary(target, content, durable)
    try:
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create(target: Path, data: bytes) -> bool:
    """Write a file that must not exist yet; False where it does.

    By a hard link, which fails where the name is taken. A disk that has none gets a look and a rename:
    two racers may then both win, and the file is the last one's, whole.
    """
    temporary = _write_temporary(target, (data,), durable=True)
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if target.exists():
            return False
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def remove(base: str, path: str) -> None:
    """Delete a file below `base`, and the folders that it leaves empty; raises FileNotFoundError."""
    os.unlink(f"{base}/{path}")
    while "/" in path:
        path = path.rsplit("/", 1)[0]
        try:
            os.rmdir(f"{base}/{path}")
        except OSError:
            return  # not empty, or a link, or another remover was first


def _write_temporary(target: Path, content: Iterable[bytes], durable: bool) -> Path:
    temporary = target.with_name(temporary_name(target.name, secrets.token_hex(4)))
    writer = _open_new(temporary)
    try:
        with writer:
            for block in content:
                writer.write(block)
            writer.flush()
            if durable:
                os.fsync(writer.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _open_new(path: Path) -> IO[bytes]:
    """Open a new file; its folder is made again where a remover took the empty one meanwhile."""
    for _ in range(_OPEN_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
        except FileNotFoundError:
            continue
        except FileExistsError:  # mkdir says so too where a remover is between its two looks at the folder
            if path.parent.exists() and not path.parent.is_dir():
                raise NotADirectoryError(
                    errno.ENOTDIR, "a file stands in the folder's place", str(path.parent)
                ) from None
    raise FileNotFoundError(errno.ENOENT, "the folder keeps vanishing", str(path.parent))
