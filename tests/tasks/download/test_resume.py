"""A fetch that broke off goes on where it stopped, and never joins the halves of two different bodies."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from storage.manifests import Manifest
from storage.root import Root
from tasks.download.config import DownloadConfig
from tasks.download.fetch import download_source
from tasks.download.key import key_document
from tasks.download.scratch import prune_scratch, scratch_folder, scratch_root
from tasks.download.sources import source_at
from tasks.records import Dropped, Paused

if TYPE_CHECKING:
    from tests.tasks.download.conftest import Site

CONFIG = DownloadConfig(allow_hosts=("127.0.0.1",), retries=0, timeout_seconds=5, min_free_bytes=0)


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "scratch"))
    return scratch_root()


def fetch(root: Root, location: str) -> bytes:
    source = source_at(location)
    manifest = download_source(root, source, CONFIG, key_document(CONFIG, source))
    assert isinstance(manifest, Manifest)
    return root.read_bytes(manifest.files["video.bin"].path)


def _leave_half(letter: str, error: Exception) -> None:
    with scratch_folder(letter * 64) as folder:
        (folder / "video.part").write_bytes(bytes(1000))
        (folder / "validators.json").write_text("{}")
        raise error


def break_off(root: Root, site: Site, location: str) -> None:
    with pytest.raises(Dropped) as caught:
        fetch(root, location)
    assert caught.value.kind == "transient"


def test_the_rest_is_asked_for_under_the_first_half_s_tag(root: Root, site: Site, clips: Path, scratch: Path) -> None:
    location = f"{site.url}/tagged/good.mp4?tag=one&cut=5000"
    break_off(root, site, location)
    (folder,) = scratch.iterdir()
    assert (folder / "video.part").stat().st_size == 5000
    del site.ranges[:]
    assert fetch(root, location) == (clips / "good.mp4").read_bytes()
    assert site.ranges[-1] == ("bytes=5000-", '"one"')
    assert list(scratch.iterdir()) == []


def test_a_body_that_has_changed_is_fetched_whole(root: Root, site: Site, clips: Path, scratch: Path) -> None:
    location = f"{site.url}/tagged/good.mp4?tag=one&cut=5000"
    break_off(root, site, location)
    (folder,) = scratch.iterdir()
    names = folder / "validators.json"
    names.write_text(names.read_text().replace("one", "old"))  # as if the server had another one by now
    part = folder / "video.part"
    part.write_bytes(bytes(5000))
    break_off(root, site, location)  # the server sends the whole body, and breaks off again
    assert part.read_bytes() == (clips / "good.mp4").read_bytes()[:5000]
    assert fetch(root, location) == (clips / "good.mp4").read_bytes()


def test_what_no_server_vouches_for_is_not_kept(root: Root, site: Site, scratch: Path) -> None:
    break_off(root, site, f"{site.url}/short.mp4")
    assert list(scratch.iterdir()) == []


def test_a_permanent_verdict_keeps_nothing(scratch: Path) -> None:
    with pytest.raises(Dropped):
        _leave_half("a", Dropped("permanent", "not_found", "gone"))
    assert list(scratch.iterdir()) == []


def test_two_fetches_of_one_unit_at_once_stay_apart(scratch: Path) -> None:
    with scratch_folder("a" * 64) as first, scratch_folder("a" * 64) as second:
        assert first != second
        (second / "file").touch()
    assert list(scratch.iterdir()) == []


def test_the_oldest_go_beyond_the_limit_and_what_is_in_use_stays(scratch: Path) -> None:
    for number, letter in enumerate("abc"):
        with pytest.raises(Paused):
            _leave_half(letter, Paused("later"))
        os.utime(scratch / (letter * 64), (1e9 + number, 1e9 + number))
    with scratch_folder("a" * 64):
        for folder in scratch.iterdir():
            os.utime(folder)
        prune_scratch(1500)
        assert {folder.name[0] for folder in scratch.iterdir()} >= {"a"}
        assert len(list(scratch.iterdir())) <= 2
    prune_scratch(0)
    assert list(scratch.iterdir()) == []


def test_a_scratch_folder_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITRACK_SCRATCH", str(tmp_path / "other"))
    own = scratch_root()
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(Paused, match="TRITRACK_SCRATCH"):
        scratch_root()
