"""Trying again what a store or the network failed, for a bounded time, whatever the store is."""

from __future__ import annotations

import errno
import functools
import http.client
import logging
import math
import os
import random
import time
from collections.abc import Callable
from typing import TypeVar

_log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY_SECONDS = 30.0
"""How long an operation is tried again where `TRITRACK_RETRY_SECONDS` says nothing."""

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 5.0
_TRANSIENT_ERRNOS = frozenset(
    getattr(errno, name)
    for name in (
        "EAGAIN", "EBUSY", "EHOSTUNREACH", "EIO", "ENETDOWN", "ENETRESET", "ENETUNREACH", "EREMOTEIO", "ESTALE",
        "ETIMEDOUT",
    )  # s3fs gives EBUSY for 503, EREMOTEIO for 500 and EIO for what it does not know
    if hasattr(errno, name)
)  # fmt: skip
# Errors of the libraries below fsspec that are no OSError. By name, so that none of them is imported here.
_TRANSIENT_CLASSES = frozenset(
    {
        "aiohttp.client_exceptions.ClientError",
        "botocore.exceptions.ConnectionError",
        "botocore.exceptions.HTTPClientError",
        "botocore.parsers.ResponseParserError",
    }
)
_CREDENTIAL_CLASSES = frozenset(
    f"botocore.exceptions.{name}"
    for name in ("CredentialRetrievalError", "NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")
)


class RootError(ValueError):
    """A root that cannot be used; the message is one line with the remedy."""


class StoreUnavailable(RootError):
    """A store that kept failing for as long as it was tried again: what is committed is safe, run again later."""


def persistently(
    operation: Callable[[], Result],
    what: str,
    *,
    seconds: float | None = None,
    also: tuple[type[Exception], ...] = (),
) -> Result:
    """The result of an operation that may be done twice, tried again with growing pauses while it fails for the moment.

    Server errors (5xx), refused and lost connections, timeouts and answers cut short are of the moment, and
    the errors `also`; a `Retry-After` is waited for. `seconds` is the time in which new attempts begin
    (`retry_seconds()` where None). Raises StoreUnavailable when it is over, RootError where the store
    refuses the credentials, and every other error at once. `what` names the place for the message.
    """
    limit = retry_seconds() if seconds is None else seconds
    started = time.monotonic()
    attempt = 0
    while True:
        try:
            return operation()
        except PermissionError as error:
            raise refusal(error, what) from error
        except Exception as error:
            if _is_any(error, _CREDENTIAL_CLASSES):
                raise refusal(error, what) from error
            if not (is_transient(error) or isinstance(error, also)):
                raise
            remaining = started + limit - time.monotonic()
            attempt += 1
            if remaining <= 0:
                raise StoreUnavailable(
                    f"root: {what} failed {attempt} times ({words(error)}); check the network and the store, then run "
                    "again: what is committed is kept"
                ) from error
            pause = min(max(_pause(attempt), _retry_after(error)), remaining)
            _log.info("%s: %s; attempt %d in %.1f s", what, words(error), attempt + 1, pause)
            time.sleep(pause)


@functools.cache
def retry_seconds() -> float:
    """Seconds for which an operation is tried again: `TRITRACK_RETRY_SECONDS`, read once; 0 is never.

    Raises ValueError where it is no such number.
    """
    text = os.environ.get("TRITRACK_RETRY_SECONDS", "") or str(RETRY_SECONDS)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"TRITRACK_RETRY_SECONDS is {text!r}; give seconds from 0 on, or leave it unset for 30")
    return seconds


def is_transient(error: BaseException) -> bool:
    """Whether the same operation may succeed a moment later."""
    if isinstance(error, ConnectionError | TimeoutError | http.client.HTTPException):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _TRANSIENT_ERRNOS
    status = getattr(error, "status", None)
    if isinstance(status, int) and status < 500 and status != 429:
        return False
    return _is_any(error, _TRANSIENT_CLASSES)


def refusal(error: BaseException, what: str) -> RootError:
    """The error for a store that refuses these credentials, or a disk that refuses this user."""
    if isinstance(error, OSError) and error.filename:
        return RootError(f"root: {what} is refused ({error.strerror}); make it readable and writable for this user")
    return RootError(
        f"root: {what} refuses the credentials ({words(error)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or "
        "your store's own) to ones that may read, write, list and delete there"
    )


def words(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _pause(attempt: int) -> float:
    """Exponential with jitter, so that many workers that failed together do not come back together."""
    return random.uniform(0.5, 1.0) * min(_FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, 10), _LONGEST_PAUSE_SECONDS)


def _retry_after(error: BaseException) -> float:
    """Seconds that the store asked to wait, 0 where it did not. botocore itself reads only its own header."""
    for source in (error, error.__cause__):
        response = getattr(source, "response", None)
        headers = getattr(source, "headers", None)
        if isinstance(response, dict):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders")
        try:
            seconds = float((headers or {}).get("retry-after", "0"))
        except ValueError:
            continue  # a date
        if math.isfinite(seconds) and seconds > 0:
            return seconds
    return 0.0


def _is_any(error: BaseException, names: frozenset[str]) -> bool:
    return any(f"{kind.__module__}.{kind.__qualname__}" in names for kind in type(error).__mro__)
