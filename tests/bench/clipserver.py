"""A loopback HTTP server of small clips for benchmarks: it answers after a settable delay, and counts.

Run as a program (`python -m tests.bench.clipserver FOLDER`) it serves in a process of its own: its first line is the
port, and it ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from aiohttp import web

PROJECT = Path(__file__).resolve().parents[2]

_BODIES = 10  # clips that are encoded; the others are copies of their packets beside a title of their own
_SIZE_PX, _FPS = 96, 25
_SMALLEST_FRAMES, _MORE_FRAMES = 9, 2  # 100 kB, and 20 kB more from one body to the next


@dataclass(frozen=True)
class Traffic:
    """What the server saw since it was last reset."""

    requests: int
    connections: int
    heads: int


class ClipServer:
    """The server's other end: its address, its delay and its counts."""

    def __init__(self, port: int) -> None:
        self.host = f"127.0.0.1:{port}"

    def url(self, name: str) -> str:
        return f"http://{self.host}/clips/{name}"

    def reset(self, latency_seconds: float) -> None:
        """Answer after so long from now on, and count from 0."""
        self._ask(f"reset?latency={latency_seconds}")

    def traffic(self) -> Traffic:
        return Traffic(**json.loads(self._ask("traffic")))

    def _ask(self, what: str) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.host}/control/{what}", timeout=30) as answer:
            body: bytes = answer.read()
        return body


@contextlib.contextmanager
def serve_clips(folder: Path) -> Iterator[ClipServer]:
    """Serve a folder's files in a process of its own while the block runs."""
    command = [sys.executable, "-m", "tests.bench.clipserver", str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=PROJECT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the clip server ended before it served"
            yield ClipServer(int(line))
        finally:
            process.stdin.close()


def make_clips(folder: Path, number: int) -> list[str]:
    """Fill a folder with so many distinct MPEG-4 clips of 100 to 300 kB; gives their names."""
    folder.mkdir(parents=True, exist_ok=True)
    bodies = [folder / f"body-{index}.mp4" for index in range(min(_BODIES, number))]
    for index, body in enumerate(bodies):
        _encode(body, frames=_SMALLEST_FRAMES + _MORE_FRAMES * index, seed=index)
    names = [f"clip-{index:05}.mp4" for index in range(number)]
    for index, name in enumerate(names):
        _retitle(bodies[index % len(bodies)], folder / name, title=name)
    for body in bodies:
        body.unlink()
    return names


def _encode(path: Path, frames: int, seed: int) -> None:
    """Noise: about 11 kB a frame, as nothing of it can be foretold."""
    random = np.random.default_rng(seed)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=_FPS, options={"qscale": "3", "flags": "+qscale"})
        stream.width = stream.height = _SIZE_PX
        stream.pix_fmt = "yuv420p"
        for _ in range(frames):
            image = random.integers(0, 256, (_SIZE_PX, _SIZE_PX, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def _retitle(source: Path, target: Path, title: str) -> None:
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        writer.metadata["title"] = title
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)


def application(folder: Path) -> web.Application:
    """GET, HEAD and byte ranges of the folder's files below /clips; /control sets the delay and tells the counts."""
    latency_seconds = 0.0
    methods: list[str] = []
    peers: set[tuple[str, int]] = set()

    @web.middleware
    async def delayed(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.path.startswith("/clips/"):
            methods.append(request.method)
            assert request.transport is not None
            peers.add(request.transport.get_extra_info("peername"))
            if latency_seconds:
                await asyncio.sleep(latency_seconds)
        return await handler(request)

    async def reset(request: web.Request) -> web.Response:
        nonlocal latency_seconds
        latency_seconds = float(request.query["latency"])
        methods.clear()
        peers.clear()
        return web.Response()

    async def traffic(_request: web.Request) -> web.Response:
        return web.json_response({"requests": len(methods), "connections": len(peers), "heads": methods.count("HEAD")})

    served = web.Application(middlewares=[delayed])
    served.router.add_get("/control/reset", reset)
    served.router.add_get("/control/traffic", traffic)
    served.router.add_static("/clips", folder)
    return served


async def _serve(folder: Path) -> None:
    runner = web.AppRunner(application(folder), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=256).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
