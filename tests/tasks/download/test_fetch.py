"""Fetching: a good clip is stored by content, everything else ends as a counted outcome in the tool's words."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.manifests import Manifest, read_manifest, video_path
from storage.root import Root
from tasks.download.config import DownloadConfig
from tasks.download.fetch import download_source
from tasks.download.key import key_document
from tasks.download.scratch import scratch_root
from tasks.download.sources import source_at
from tasks.records import Dropped

if TYPE_CHECKING:
    from tests.tasks.download.conftest import Site

CONFIG = DownloadConfig(allow_hosts=("127.0.0.1",), retries=0, timeout_seconds=1, max_bytes=1_000_000)


def fetch(root: Root, location: str, config: DownloadConfig = CONFIG, given: str = "") -> Manifest:
    source = source_at(location, given)
    manifest = download_source(root, source, config, key_document(config, source))
    assert isinstance(manifest, Manifest)
    return manifest


def drop(root: Root, location: str, config: DownloadConfig = CONFIG) -> Dropped:
    """The outcome of a source that gives no video; nothing of it is stored."""
    with pytest.raises(Dropped) as caught:
        fetch(root, location, config)
    assert root.names("") == []
    return caught.value


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The scratch folder of the test, which every fetch leaves empty that no second try could go on from."""
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "scratch"))
    return scratch_root()


@pytest.mark.parametrize("name", ["good.mp4", "one.mp4"])
def test_a_served_clip_is_stored_by_content(root: Root, site: Site, clips: Path, scratch: Path, name: str) -> None:
    location = f"{site.url}/file/{name}"
    manifest = fetch(root, location)
    data = (clips / name).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    assert manifest == read_manifest(root, "download", key_document(CONFIG, source_at(location)).key)
    stored = manifest.files["video.bin"]
    assert (stored.path, stored.size, stored.sha256) == (video_path(sha256), len(data), sha256)
    assert root.read_bytes(stored.path) == data
    assert manifest.counts == {"bytes": len(data)}
    num_frames = {"good.mp4": 12, "one.mp4": 1}[name]
    expected = {
        "video": sha256,
        "location": location,
        "extractor": "generic",
        "title": name.removesuffix(".mp4"),
        "duration_seconds": num_frames / 25,
        "width": 64,
        "height": 48,
        "fps": 25.0,
        "codec": "mpeg4",
    }
    assert expected.items() <= manifest.facts.items()
    assert str(manifest.facts["yt_dlp"])[:2] == "20"
    assert list(scratch.iterdir()) == []


def test_a_redirect_on_an_allowed_host_is_followed(root: Root, site: Site, clips: Path) -> None:
    manifest = fetch(root, f"{site.url}/redirect?to=/file/good.mp4")
    assert manifest.counts["bytes"] == (clips / "good.mp4").stat().st_size


def test_the_same_bytes_under_two_locations_are_stored_once(root: Root, site: Site, clips: Path) -> None:
    first = fetch(root, f"{site.url}/file/good.mp4")
    path = Path(root.full(first.files["video.bin"].path))
    inode = path.stat().st_ino
    second = fetch(root, str(clips / "good.mp4"))
    assert second.key != first.key
    assert second.files == first.files
    assert path.stat().st_ino == inode  # not written again


def test_a_stored_video_that_was_cut_short_is_stored_again(root: Root, clips: Path) -> None:
    data = (clips / "good.mp4").read_bytes()
    root.write_bytes(video_path(hashlib.sha256(data).hexdigest()), data[:-1])
    assert root.read_bytes(fetch(root, str(clips / "good.mp4")).files["video.bin"].path) == data


def test_a_local_file_is_stored_as_it_is(root: Root, clips: Path) -> None:
    manifest = fetch(root, str(clips / "other.mp4"))
    assert root.read_bytes(manifest.files["video.bin"].path) == (clips / "other.mp4").read_bytes()
    assert (manifest.facts["extractor"], manifest.facts["title"]) == ("file", "other.mp4")


@pytest.mark.parametrize(
    ("path", "kind", "reason", "words"),
    [
        ("/file/page.html", "permanent", "unsupported_url", "Unsupported URL"),
        ("/status/404", "permanent", "not_found", "HTTP Error 404: Not Found"),
        ("/status/410", "permanent", "not_found", "HTTP Error 410: Gone"),
        ("/status/401", "permanent", "login_required", "HTTP Error 401: Unauthorized"),
        ("/status/403", "transient", "forbidden", "HTTP Error 403: Forbidden"),
        ("/status/429", "transient", "rate_limited", "HTTP Error 429: Too Many Requests"),
        ("/status/500", "transient", "server_error", "HTTP Error 500: Internal Server Error"),
        ("/status/503", "transient", "server_error", "HTTP Error 503: Service Unavailable"),
        ("/loop", "permanent", "bad_redirect", "HTTP Error 302"),
        ("/redirect?to=file:///etc/passwd", "permanent", "bad_redirect", "HTTP Error 302"),
        ("/slow.mp4", "transient", "timeout", "timed out"),
        ("/reset.mp4", "transient", "connection_reset", "Connection reset by peer"),
        ("/short.mp4", "transient", "cut_short", "Downloaded 500 bytes, expected 100000 bytes"),
        ("/endless.mp4", "permanent", "too_large", "more than max_bytes = 1000000"),
        ("/file/zero.mp4", "poison", "empty", "Did not get any data blocks"),
        ("/file/page.mp4", "poison", "web_page", "Invalid data found when processing input"),
        ("/file/cut.mp4", "poison", "moov_missing", "moov atom not found"),
        ("/file/sound.wav", "poison", "no_video_stream", "no video stream in wav (audio pcm_s16le)"),
    ],
)
def test_each_ill_answer_has_its_class_reason_and_words(
    root: Root, site: Site, scratch: Path, path: str, kind: str, reason: str, words: str
) -> None:
    outcome = drop(root, site.url + path)
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert words in outcome.words
    assert "\x1b" not in outcome.words
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("absent.mp4", "permanent", "missing_file"),
        ("", "permanent", "not_a_file"),
        ("nul\0.mp4", "permanent", "unusable"),
        ("x" * 300 + ".mp4", "permanent", "bad_path"),
        ("good.mp4/x.mp4", "permanent", "bad_path"),
        ("zero.mp4", "poison", "empty"),
        ("page.mp4", "poison", "web_page"),
        ("cut.mp4", "poison", "moov_missing"),
        ("noise.avi", "poison", "unreadable_container"),
        ("sound.wav", "poison", "no_video_stream"),
    ],
)
def test_each_ill_local_file_has_its_class_and_reason(
    root: Root, clips: Path, name: str, kind: str, reason: str
) -> None:
    outcome = drop(root, str(clips / name))
    assert (outcome.kind, outcome.reason) == (kind, reason)
    assert outcome.words


def test_a_pipe_is_refused_before_it_is_opened(root: Root, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert drop(root, str(tmp_path / "pipe.mp4")).reason == "not_a_file"


def test_a_playlist_file_opens_no_other_file(root: Root, clips: Path, tmp_path: Path) -> None:
    """FFmpeg would read the files that an HLS list or a concat script names."""
    lists = {
        "hls.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clips / 'good.mp4'}\n#EXT-X-ENDLIST\n",
        "script.ffconcat": f"ffconcat version 1.0\nfile {clips / 'good.mp4'}\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        outcome = drop(root, str(tmp_path / name))
        assert (outcome.kind, outcome.reason) == ("poison", "not_a_video"), outcome.words


def test_a_file_that_is_larger_than_allowed_is_refused(root: Root, site: Site, clips: Path) -> None:
    config = CONFIG.model_copy(update={"max_bytes": 1000})
    for location in (str(clips / "good.mp4"), f"{site.url}/file/good.mp4"):
        outcome = drop(root, location, config)
        assert (outcome.kind, outcome.reason) == ("permanent", "too_large")
        assert "1000" in outcome.words


def test_a_file_that_changes_while_it_is_read_is_tried_again(root: Root, tmp_path: Path, clips: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes((clips / "good.mp4").read_bytes())
    source = source_at(str(path))
    document = key_document(CONFIG, source)
    path.write_bytes((clips / "other.mp4").read_bytes())
    with pytest.raises(Dropped) as caught:
        download_source(root, source, CONFIG, document)
    assert (caught.value.kind, caught.value.reason) == ("transient", "changed_while_read")
    assert [path for path in Path(root.base).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("target", ["{other}/file/good.mp4", "http://169.254.169.254/latest/", "http://[::1]/x"])
def test_a_redirect_to_a_private_host_is_refused_unasked(root: Root, site: Site, target: str) -> None:
    target = target.format(other=site.url.replace("127.0.0.1", "localhost"))
    outcome = drop(root, f"{site.url}/redirect?to={target}")
    assert (outcome.kind, outcome.reason) == ("permanent", "private_address")
    assert "allow_hosts" in outcome.words
    assert all(path.startswith("/redirect") for path in site.requests)


def test_a_private_host_is_refused_unasked(root: Root, site: Site) -> None:
    outcome = drop(root, f"{site.url}/file/good.mp4", DownloadConfig())
    assert (outcome.kind, outcome.reason) == ("permanent", "private_address")
    assert site.requests == []


def test_progress_is_told_bytes(root: Root, site: Site, clips: Path) -> None:
    told = []
    source = source_at(f"{site.url}/file/good.mp4")
    download_source(root, source, CONFIG, key_document(CONFIG, source), progress=lambda *status: told.append(status))
    size = (clips / "good.mp4").stat().st_size
    assert told[-1] == (size, size, "bytes")


@pytest.mark.parametrize(
    "path", ["/file/good.mp4", "/file/page.html", "/status/404", "/file/cut.mp4", "/redirect?to=x:y"]
)
def test_secrets_reach_no_log_manifest_or_outcome(
    root: Root, site: Site, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    """They are sent, since the site wants them, and they stay out of everything that is kept."""
    caplog.set_level(logging.DEBUG)
    location = site.url.replace("//", "//user:hunter2@") + path
    location += ("&" if "?" in path else "?") + "access_token=hunter3&X-Amz-Signature=hunter4&v=1"
    kept = []
    try:
        kept.append(str(fetch(root, location)))
    except Dropped as outcome:
        kept += [str(outcome), str(outcome.as_failure("download"))]
    assert any("hunter3" in request for request in site.requests)
    kept += [record.getMessage() for record in caplog.records]
    assert kept
    assert "hunter" not in "\n".join(kept)


def test_a_broken_store_is_not_the_sources_fault(root: Root, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(root, "upload", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(root, str(clips / "good.mp4"))
