"""Connecting to a root's URL: the file system below it, and the checks that end in one clear line."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from storage.concurrency import concurrency
from storage.retrying import RootError, StoreUnavailable, persistently, retry_seconds, words

_PACKAGES = {"smbclient": "smbprotocol"}  # where the package is called other than its module
_HALF_URL = re.compile(r"://|[a-z0-9+.-]+:/(?!/)")
_S3_SCHEMES = frozenset({"s3", "s3a"})
_OPEN_SECONDS = 2.0  # a wrong endpoint should be told soon; new attempts begin only this long
_OPEN_ANSWER_SECONDS = 10.0
# botocore waits for 60, s3fs for 15: too short for eight parts that leave over 1 MB/s together, since the 4 MB that
# Linux holds back for each connection count as sent.
_S3_READ_SECONDS = 30.0


def connect(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path of the root in it, checked.

    Raises RootError where the scheme is unknown or its package is missing, a local folder cannot be
    written, a bucket does not exist, the store refuses the credentials, or cannot be reached.
    """
    if not url:
        raise RootError("root: empty; give a folder or a URL such as s3://bucket/prefix")
    if _HALF_URL.match(url):  # fsspec takes it for a folder of that name
        raise RootError(f"root: {url!r} is neither; give a folder or a URL such as s3://bucket/prefix")
    scheme = url.split("://", 1)[0] if "://" in url else "file"
    options = _s3_options() if scheme in _S3_SCHEMES else {}
    try:
        filesystem, base = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        module = getattr(error.__cause__, "name", None) or scheme
        package = _PACKAGES.get(module, module)
        raise RootError(
            f"root: {url!r} needs a package that is not installed ({words(error)}); run: pip install {package}"
        ) from error
    except (ValueError, OSError) as error:
        raise RootError(
            f"root: {url!r} cannot be opened ({words(error)}); give a folder, s3://bucket/prefix or another fsspec URL"
        ) from error
    path = str(base)
    if isinstance(filesystem, LocalFileSystem):
        _require_writable(Path(path), url)
    elif scheme in _S3_SCHEMES:
        filesystem.retries = 1  # botocore and `persistently` try again; a third layer would multiply both
        _require_bucket(filesystem, path, url)
    elif not isinstance(filesystem, MemoryFileSystem):
        _require_answer(filesystem, path, url)
    return filesystem, path


def _s3_options() -> dict[str, Any]:
    """Options beyond what botocore takes from the environment: endpoint, region, credentials and retries.

    botocore's "standard" retries (3 attempts, up to 3 s of pauses) stand in for its older "legacy" ones
    (5 attempts, up to 15 s), unless the environment or the AWS configuration file chooses.
    """
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        chosen = os.environ.get("AWS_RETRY_MODE") or Session().get_scoped_config().get("retry_mode")
    except BotoCoreError as error:
        raise RootError(f"root: the AWS configuration cannot be used ({words(error)}); check AWS_PROFILE") from error
    config: dict[str, Any] = {
        "max_pool_connections": max(10, concurrency()),  # 10 is botocore's own
        "read_timeout": _S3_READ_SECONDS,
    }
    if not chosen:
        config["retries"] = {"mode": "standard"}
    return {"use_listings_cache": False, "config_kwargs": config}  # a kept listing hides what others wrote


def _require_writable(folder: Path, url: str) -> None:
    if folder.exists() and not folder.is_dir():
        raise RootError(f"root: {url!r} is a file; choose a folder that you may write to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RootError(
            f"root: {url!r} cannot be made ({error.strerror}); choose a folder that you may write to"
        ) from error
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise RootError(f"root: {url!r} is not writable; choose a folder that you may write to")


def _require_bucket(filesystem: Any, path: str, url: str) -> None:
    """Ask for the bucket itself: s3fs's `exists` answers False for every error."""
    from botocore.exceptions import BotoCoreError, ParamValidationError

    bucket, _, prefix = path.partition("/")
    if not bucket:
        raise RootError(f"root: {url!r} names no bucket; give s3://bucket/prefix")

    def ask() -> None:
        """A request that only one who may use the bucket gets an answer to."""
        try:
            filesystem.call_s3("head_bucket", Bucket=bucket, timeout=_OPEN_ANSWER_SECONDS)
        except PermissionError:
            # A HEAD has no words, and credentials that are bound to a prefix may not ask for the bucket.
            filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
        except TimeoutError as error:
            raise TimeoutError(words(error) if str(error) else f"no answer in {_OPEN_ANSWER_SECONDS:g} s") from error

    try:
        persistently(ask, repr(url), seconds=min(_OPEN_SECONDS, retry_seconds()))
    except FileNotFoundError as error:
        raise RootError(
            f"root: bucket {bucket!r} does not exist at the endpoint in use; make it first, or check AWS_ENDPOINT_URL"
        ) from error
    except ParamValidationError as error:
        raise RootError(f"root: {bucket!r} is no bucket name; give s3://bucket/prefix") from error
    except StoreUnavailable as error:
        raise _unreachable(error.__cause__ or error, url) from error
    except RootError:
        raise
    except (OSError, BotoCoreError, ValueError) as error:
        raise _unreachable(error, url) from error


def _unreachable(error: BaseException, url: str) -> RootError:
    return RootError(
        f"root: {url!r} cannot be reached ({words(error)}); check AWS_ENDPOINT_URL, AWS_DEFAULT_REGION and the network"
    )


def _require_answer(filesystem: Any, path: str, url: str) -> None:
    """Any other store: ask what lies at the root; nothing yet is an answer too."""
    try:
        persistently(lambda: filesystem.info(path), repr(url), seconds=min(_OPEN_SECONDS, retry_seconds()))
    except FileNotFoundError:
        return
    except RootError:
        raise
    except Exception as error:  # each cloud's library has its own; all of them mean that this root cannot be used
        raise RootError(
            f"root: {url!r} cannot be opened ({words(error)}); check its address and your credentials"
        ) from error
