"""HLS and DASH: fetched whole by yt-dlp's native downloaders, without FFmpeg's program."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from storage.manifests import Manifest
from storage.root import Root
from tasks.download.config import DownloadConfig
from tasks.download.fetch import download_source
from tasks.download.key import key_document
from tasks.download.loopback import serve_folder
from tasks.download.sources import source_at
from tasks.records import Dropped

FRAMES = 40
CONFIG: dict[str, Any] = {"allow_hosts": ("127.0.0.1",), "retries": 0, "timeout_seconds": 5, "min_free_bytes": 0}


@pytest.fixture(autouse=True)
def no_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`film.m3u8` and `film.mpd`, each of four fragments or more, in a folder of their own."""
    made = tmp_path / "site"
    made.mkdir()
    hls = {"hls_time": "0.4", "hls_playlist_type": "vod", "hls_segment_filename": str(made / "part%d.ts")}
    _write(made / "film.m3u8", "hls", hls)
    _write(made / "film.mpd", "dash", {"seg_duration": "0.4"})
    return made


def _write(path: Path, container_format: str, options: dict[str, str]) -> None:
    source = np.random.default_rng(0)
    with av.open(str(path), "w", format=container_format, options=options) as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(FRAMES):
            pixels = source.integers(0, 256, (48, 64, 3), dtype=np.uint8)  # (H, W, 3) uint8
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())


def _fetch(root: Root, location: str, **changes: Any) -> Manifest:
    source, config = source_at(location), DownloadConfig(**{**CONFIG, **changes})
    manifest = download_source(root, source, config, key_document(config, source))
    assert isinstance(manifest, Manifest)
    return manifest


@pytest.mark.parametrize("name", ["film.m3u8", "film.mpd"])
def test_all_fragments_become_one_video(root: Root, folder: Path, name: str) -> None:
    with serve_folder(folder) as url:
        manifest = _fetch(root, f"{url}/{name}")
    with av.open(io.BytesIO(root.read_bytes(manifest.files["video.bin"].path))) as container:
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    assert manifest.facts["codec"] == "h264"


@pytest.mark.parametrize(("name", "fragment"), [("film.m3u8", "part2.ts"), ("film.mpd", "chunk-stream0-00003.m4s")])
def test_a_missing_fragment_is_never_skipped(root: Root, folder: Path, name: str, fragment: str) -> None:
    (folder / fragment).unlink()
    with serve_folder(folder) as url, pytest.raises(Dropped):
        _fetch(root, f"{url}/{name}")
    assert root.names("") == []


@pytest.mark.parametrize("name", ["film.m3u8", "film.mpd"])
def test_the_size_cap_holds_over_all_fragments(root: Root, folder: Path, name: str) -> None:
    largest = max(path.stat().st_size for path in folder.iterdir())
    with serve_folder(folder) as url, pytest.raises(Dropped) as caught:
        _fetch(root, f"{url}/{name}", max_bytes=largest + 1)
    assert (caught.value.kind, caught.value.reason) == ("permanent", "too_large")


def test_fragments_on_a_private_host_are_not_asked_for(root: Root, folder: Path) -> None:
    playlist = folder / "film.m3u8"
    playlist.write_text(playlist.read_text().replace("part", "http://127.0.0.2:1/part"))
    with serve_folder(folder) as url, pytest.raises(Dropped) as caught:
        _fetch(root, f"{url}/film.m3u8")
    assert (caught.value.kind, caught.value.reason) == ("permanent", "private_address")
