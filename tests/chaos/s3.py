"""An S3 server in a process of its own, which lives across kills and ends with whoever started it."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

BUCKET = "chaos"


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server as a child; yields its address. The environment of other children comes from `s3_variables`."""
    command = [sys.executable, "-m", "tests.chaos.s3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None, "a pipe"
        assert process.stdout is not None, "a pipe"
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://"), "the server started"
            yield address
        finally:
            process.stdin.close()
            process.wait(30)


def s3_variables(endpoint: str) -> dict[str, str]:
    """The environment that points a process at an S3 endpoint."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1,localhost",
    }


def main() -> None:
    """Serve until the standard input ends."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # a line a request otherwise
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    sys.stdout.write(f"http://{host}:{port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
