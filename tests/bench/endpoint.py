"""An S3 server for benchmarks in this process, so that many objects can be put into it without a request each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def moto_endpoint(bucket: str = "bench") -> Iterator[dict[str, str]]:
    """Serve an empty bucket; yields the environment that reaches it, which this process has too meanwhile."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    before = dict(os.environ)
    os.environ.update(environment)
    try:
        import s3fs

        s3fs.S3FileSystem().mkdir(bucket)
        yield environment
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.stop()


def backend_writer(bucket: str, prefix: str) -> Callable[[str, bytes], None]:
    """Puts objects straight into the server's memory."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import s3_backends

    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]

    def write(path: str, data: bytes) -> None:
        backend.put_object(bucket, prefix + path, data)

    return write
